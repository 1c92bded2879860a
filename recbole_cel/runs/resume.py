"""What of a run is kept to go on from, and whether a file is of this run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from scipy.sparse import issparse

from .allowed import allowed_keys
from .checkpoint import CheckpointError, decode, encode, plain
from .validate import check_model_state

# What a resumed run may have otherwise than the run that it continues: it changes no number of the training.
MAY_DIFFER = {"epochs", "eval_batch_size", "cel_activity_edges", "cel_checkpoint_interval"}


def shufflers(train_data: Any) -> list[torch.Generator]:
    """The random generators that decide the order of the training data."""
    if hasattr(train_data, "generator"):
        return [train_data.generator]
    return [train_data.general_dataloader.generator, train_data.kg_dataloader.generator]


def other_parameters(model: Any) -> dict[str, Any]:
    """What a model keeps besides its tensors, as plain data; modules are in its ``state_dict`` already.

    Raises:
        CheckpointError: if that cannot be saved without pickling code.
    """
    found = {}
    for name, value in model.other_parameter().items():
        if isinstance(value, torch.nn.Module):
            continue
        try:
            found[name] = encode(value)
        except TypeError as error:
            raise CheckpointError(
                f"{type(model).__name__}.{name} cannot be saved ({error}); run with saved=False"
            ) from None
    return found


def check_config(file: str, saved: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Check that a run continues under the options that it began with.

    Raises:
        CheckpointError: naming what differs.
    """
    differing = sorted(
        key for key in {**saved, **present} if key not in MAY_DIFFER and saved.get(key) != present.get(key)
    )
    if differing:
        values = ", ".join(f"{key}={saved.get(key)!r}, not {present.get(key)!r}" for key in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise CheckpointError(f"{file}: the run to be continued had {values}{more}; give the same options")


def check_dataset(file: str, saved: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Check that a checkpoint's training data are the present ones.

    Raises:
        CheckpointError: naming what differs.
    """
    for key, what in (
        ("name", "data set"),
        ("sizes", "numbers of ids"),
        ("interactions", "number of training interactions"),
        ("digest", "training interactions or features"),
        ("evaluated", "validation or test interactions"),
    ):
        # What a model is evaluated on is not known where it is only trained.
        known = key != "evaluated" or (saved.get(key) and present.get(key))
        if known and saved[key] != present[key]:
            counted = key in ("digest", "evaluated")
            values = "another split or file" if counted else f"{saved[key]}, not {present[key]}"
            raise CheckpointError(f"{file}: it was trained on other data; {what}: {values}")


def load_model_state(model: Any, state: Mapping[str, Any], file: str) -> None:
    """Load the model part of a checkpoint.

    Raises:
        CheckpointError: if it does not fit the model; the model is not changed then.
    """
    check_model_state(file, model, state["state_dict"])
    others = checked_other_parameters(file, model, state["other_parameter"])
    before = deepcopy(model.state_dict())  # what several names stand for is kept once
    try:
        model.load_state_dict(state["state_dict"])
    except ValueError as error:
        model.load_state_dict(before)
        raise CheckpointError(f"{file}: {error}") from None
    model.load_other_parameter(others)


def load_states(model: Any, hook: Any, state: Mapping[str, Any], file: str) -> None:
    """Load the parts of a checkpoint that are of a model and of its strategy's hook, which it may have none of.

    Raises:
        CheckpointError: if one does not fit; neither is changed then.
    """
    if hook is None:
        load_model_state(model, state, file)
        return
    before = hook.state_dict()
    _load_hook_state(file, hook, state["strategy"])
    try:
        load_model_state(model, state, file)
    except CheckpointError:
        hook.load_state_dict(before)
        raise


def _load_hook_state(file: str, hook: Any, saved: Mapping[str, Any] | None) -> None:
    """Load the state of a strategy's hook.

    Raises:
        CheckpointError: if it takes no such state; it has the state that it had before then.
    """
    before = hook.state_dict()
    try:
        hook.load_state_dict(saved)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        hook.load_state_dict(before)
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{file}: its strategy's state cannot be taken over: {reason}") from None


def checked_other_parameters(file: str, model: Any, saved: Mapping[str, Any]) -> dict[str, Any]:
    """What a model keeps besides its tensors, decoded; each of the kind and size that the model has.

    Raises:
        CheckpointError: naming the first that is not.
    """
    own = {
        name: value for name, value in model.other_parameter().items() if not isinstance(value, torch.nn.Module)
    }
    if saved.keys() != own.keys():
        raise CheckpointError(f"{file}: its other_parameter holds {sorted(map(str, saved))}, not {sorted(own)}")
    found = {}
    for name, value in saved.items():
        try:
            found[name] = decode(value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{file}: its {name} cannot be taken over: {reason}") from None
        shapes, kinds = zip(*((getattr(one, "shape", None), issparse(one)) for one in (found[name], own[name])))
        if own[name] is not None and (kinds[0] != kinds[1] or shapes[0] != shapes[1]):
            raise CheckpointError(f"{file}: its {name} is of shape {shapes[0]}, not {shapes[1]}")
    return found


def holds_data(path: str, dataset: str) -> bool:
    """Whether folder ``path`` holds interactions of ``dataset``, in a file of its own."""
    if not re.fullmatch(r"[\w.-]+", dataset) or dataset.startswith("."):
        return False
    return any(file.is_file() for file in (Path(path) / dataset).glob(f"{dataset}*.inter"))


def saved_config(config: Any) -> dict[str, Any]:
    """The part of a configuration that is saved, from which ``Config`` can be made again."""
    saved = {}
    for key in allowed_keys(config["model"]):
        if key not in config.final_config_dict:
            continue
        try:
            saved[key] = plain(config.final_config_dict[key])
        except TypeError:
            continue  # enums and devices, which Config derives anew
    if saved["train_neg_sample_args"]["distribution"] == "none":
        saved["train_neg_sample_args"] = None
    return saved
