"""What of a run is kept to go on from, and whether a file is of this run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from .checkpoint import CheckpointError, decode, encode, plain

# Derived by RecBole from other keys, or of this process alone.
NOT_SAVED = {"local_rank", "single_spec", "valid_neg_sample_args", "test_neg_sample_args", "cel_resume"}
# What a resumed run may have otherwise than the run that it continues: it changes no number of the training.
MAY_DIFFER = {
    "epochs", "data_path", "checkpoint_dir", "show_progress", "state", "gpu_id", "use_gpu", "log_wandb",
    "wandb_project", "eval_batch_size", "config_files", "cel_activity_edges", "cel_checkpoint_interval",
}  # fmt: skip


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
        ("digest", "training interactions"),
    ):
        if saved[key] != present[key]:
            values = "another split or file" if key == "digest" else f"{saved[key]}, not {present[key]}"
            raise CheckpointError(f"{file}: it was trained on other data; {what}: {values}")


def load_model_state(model: Any, state: Mapping[str, Any], file: str) -> None:
    """Load the model part of a checkpoint.

    Raises:
        CheckpointError: if the tensors do not fit the model; the model is not changed then.
    """
    own, saved = model.state_dict(), state["state_dict"]
    differing = [
        name
        for name in {**own, **saved}
        if name not in own
        or name not in saved
        or own[name].shape != saved[name].shape
        or own[name].dtype != saved[name].dtype
    ]
    if differing:
        name = differing[0]
        shapes = [tuple(part[name].shape) if name in part else "absent" for part in (saved, own)]
        raise CheckpointError(
            f"{file}: it does not fit this model; {name} is {shapes[0]} in the file and {shapes[1]} here "
            "(were embedding_size or cel_max_clusters changed?)"
        )
    try:
        model.load_state_dict(saved)
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from None
    model.load_other_parameter(decode(state["other_parameter"]))


def saved_config(config: Any) -> dict[str, Any]:
    """The plain part of a configuration, from which ``Config`` can be made again."""
    saved = {}
    for key, value in config.final_config_dict.items():
        try:
            saved[key] = plain(value)
        except TypeError:
            continue  # enums and devices, which Config derives anew
    for key in NOT_SAVED:
        saved.pop(key, None)
    if saved["train_neg_sample_args"]["distribution"] == "none":
        saved["train_neg_sample_args"] = None
    # Config appends the data set's name.
    saved["data_path"] = os.path.dirname(saved["data_path"])
    return saved
