"""Whether what a checkpoint holds can be taken over: all of it is checked before anything is changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..options import MAX_COUNT
from .checkpoint import CheckpointError

NUMBER = (int, float)
# What each part is.
PARTS: dict[str, tuple[type, ...]] = {
    "version": (str,),
    "model": (str,),
    "dataset": (dict,),
    "data_path": (str,),
    "config": (dict,),
    "epoch": (int,),
    "cur_step": (int,),
    "best_valid_score": NUMBER,
    "best_valid_result": (dict, type(None)),
    "best_file": (str,),
    "was_settled": (bool,),
    "train_loss": (dict,),
    "state_dict": (dict,),
    "other_parameter": (dict,),
    "optimizer": (dict,),
    "strategy": (dict, type(None)),
    "random": (dict,),
    "shuffle": (list,),
}
# What optimisers keep for a parameter: tensors of its shape, and counts.
COUNTS = {"step"}
MOMENTS = {
    *("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"),
    *("sum", "square_avg", "grad_avg", "exp_inf", "mu_product", "eta", "ax"),
}
# Of layers that normalise.
NOT_NEGATIVE = {"running_var", "var", "num_batches_tracked"}
# The state of PyTorch's generator on the CPU.
MERSENNE = np.dtype(
    [
        ("seed", "<u8"),
        ("left", "<i4"),
        ("seeded", "<i4"),
        ("next", "<u8"),
        ("words", "<u8", 624),
        ("normals", "<f8", 3),
        ("has_normal", "<i4"),
        ("padding", "<i4"),
        ("next_normal", "<f4"),
        ("has_next_normal", "u1"),
        ("end", "u1", 3),
    ]
)


def check_parts(file: str, state: Mapping[str, Any]) -> None:
    """Check that all parts are there, and of the kind that they should be.

    Raises:
        CheckpointError: naming the first that is not.
    """
    for name, kinds in PARTS.items():
        value = state.get(name, NotImplemented)
        if value is NotImplemented:
            raise CheckpointError(f"{file}: it holds no {name}")
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise CheckpointError(f"{file}: its {name} is a {type(value).__name__}")
    for name in ("epoch", "cur_step"):
        if not 0 <= state[name] <= MAX_COUNT:
            raise CheckpointError(f"{file}: its {name} is {state[name]}")
    best = state["best_file"]
    if not best or best in (".", "..") or any(sign in best for sign in "/\\\0"):
        raise CheckpointError(f"{file}: its best_file is {best[:60]!r}, which is no name of a file")
    if math.isnan(state["best_valid_score"]):
        raise CheckpointError(f"{file}: its best_valid_score is no number")
    results = state["best_valid_result"] or {}
    if not all(isinstance(key, str) and isinstance(value, NUMBER) for key, value in results.items()):
        raise CheckpointError(f"{file}: its best_valid_result holds other than numbers by name")
    for epoch, loss in state["train_loss"].items():
        losses = loss if isinstance(loss, tuple) else (loss,)
        if not isinstance(epoch, int) or not all(isinstance(one, NUMBER) for one in losses):
            raise CheckpointError(f"{file}: its train_loss holds other than losses by epoch")
    saved = state["dataset"]
    for name, kind in (("name", str), ("sizes", dict), ("interactions", int), ("digest", str)):
        if not isinstance(saved.get(name), kind):
            raise CheckpointError(f"{file}: it does not say of which data it is ({name})")
    if not all(isinstance(key, str) and type(size) is int for key, size in saved["sizes"].items()):
        raise CheckpointError(f"{file}: its sizes of the data are other than integers by name")
    if not all(isinstance(key, str) and torch.is_tensor(value) for key, value in state["state_dict"].items()):
        raise CheckpointError(f"{file}: its state_dict holds other than tensors by name")


def largest_size(tensors: Mapping[str, Tensor]) -> int:
    """The largest dimension of some tensors."""
    return max((size for tensor in tensors.values() for size in tensor.shape), default=0)


def check_model_state(file: str, model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Check that tensors fit ``model``, that its numbers are finite, and that what is one in it is one there.

    Raises:
        CheckpointError: naming the first that does not.
    """
    own = model.state_dict()
    for name in {**own, **saved}:
        same = name in own and name in saved
        if not same or own[name].shape != saved[name].shape or own[name].dtype != saved[name].dtype:
            shapes = [tuple(part[name].shape) if name in part else "absent" for part in (saved, own)]
            raise CheckpointError(
                f"{file}: it does not fit this model; {name} is {shapes[0]} in the file and {shapes[1]} here "
                "(were embedding_size or cel_max_clusters changed?)"
            )
    for name, tensor in own.items():
        if bool(tensor.isfinite().all()) and not bool(saved[name].isfinite().all()):
            raise CheckpointError(f"{file}: {name} has numbers that are not finite")
        if name.rpartition(".")[2] in NOT_NEGATIVE and bool((saved[name] < 0).any()):
            raise CheckpointError(f"{file}: {name} has negative numbers")
    first: dict[tuple[int, torch.Size], str] = {}
    for name, tensor in own.items():
        same_as = first.setdefault((tensor.data_ptr(), tensor.shape), name)
        if tensor.numel() and not torch.equal(saved[name], saved[same_as]):
            raise CheckpointError(
                f"{file}: {name} and {same_as} are the same in this model, and differ in the file"
            )


def checked_optimiser(file: str, optimiser: torch.optim.Optimizer, saved: Mapping[str, Any]) -> dict[str, Any]:
    """What ``optimiser`` can load: the moments of the file, and the options that it has here.

    Raises:
        CheckpointError: if moments do not fit their parameters.
    """
    own = optimiser.state_dict()
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    groups, moments = saved.get("param_groups"), saved.get("state")
    if not isinstance(groups, list) or not isinstance(moments, dict):
        raise CheckpointError(f"{file}: its optimizer has no groups, or no state")
    numbers = [group.get("params") if isinstance(group, dict) else None for group in groups]
    if numbers != [group["params"] for group in own["param_groups"]]:
        raise CheckpointError(f"{file}: its optimizer is of other parameters than this model has")
    if not moments and not isinstance(optimiser, torch.optim.SGD):
        raise CheckpointError(f"{file}: its optimizer keeps nothing, though epochs of training are over")
    for number, kept in moments.items():
        if not isinstance(number, int) or not 0 <= number < len(parameters) or not isinstance(kept, dict):
            raise CheckpointError(f"{file}: its optimizer keeps something for {str(number)[:30]!r}")
        for name, value in kept.items():
            _check_moment(file, parameters[number], number, name, value)
    kinds = {frozenset(kept) for kept in moments.values()}
    known = {frozenset(kept) for kept in own["state"].values()}
    if len(kinds) > 1 or (known and kinds and kinds != known):
        raise CheckpointError(f"{file}: its optimizer keeps other things than {type(optimiser).__name__} does")
    return {"param_groups": own["param_groups"], "state": moments}


def _check_moment(file: str, parameter: Tensor, number: int, name: object, value: object) -> None:
    what = f"{file}: its optimizer's {str(name)[:30]} of parameter {number}"
    if name in COUNTS:
        count = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        if isinstance(count, bool) or not isinstance(count, NUMBER) or not 0 <= count <= MAX_COUNT:
            raise CheckpointError(f"{what} is no count of steps")
        return
    if name not in MOMENTS:
        raise CheckpointError(f"{what} is unknown")
    if name in ("mu_product", "eta", "momentum_buffer") and (value is None or isinstance(value, float)):
        return
    if not isinstance(value, Tensor) or value.dtype != parameter.dtype:
        raise CheckpointError(f"{what} is no tensor of its type")
    if value.shape != parameter.shape and not (name in ("mu_product", "eta") and value.numel() == 1):
        raise CheckpointError(f"{what} is of shape {tuple(value.shape)}, not {tuple(parameter.shape)}")
    if not bool(value.isfinite().all()):
        raise CheckpointError(f"{what} has numbers that are not finite")
    if name in ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum") and bool((value < 0).any()):
        raise CheckpointError(f"{what} has negative squares")


def check_random(file: str, state: Mapping[str, Any], shuffle: Sequence[Any], shufflers: int) -> None:
    """Check the states of all random number generators; a bad one would crash the process.

    Raises:
        CheckpointError: naming the generator.
    """
    if not _is_python_state(state.get("python")):
        raise CheckpointError(f"{file}: its state of Python's random numbers is none")
    if not _is_numpy_state(state.get("numpy")):
        raise CheckpointError(f"{file}: its state of NumPy's random numbers is none")
    if not is_generator_state(state.get("torch")):
        raise CheckpointError(f"{file}: its state of PyTorch's random numbers is none")
    cuda = state.get("cuda", [])
    if torch.cuda.is_available() and cuda:
        sizes = [len(one) for one in torch.cuda.get_rng_state_all()]
        if not isinstance(cuda, list) or [_bytes_of(one) for one in cuda] != sizes:
            raise CheckpointError(f"{file}: its state of the GPUs' random numbers is none of these GPUs")
    if len(shuffle) != shufflers or not all(map(is_generator_state, shuffle)):
        raise CheckpointError(f"{file}: its state of the shuffling is none of these data")


def is_generator_state(state: object) -> bool:
    """Whether PyTorch's generator on the CPU can have this state."""
    if _bytes_of(state) != MERSENNE.itemsize or not isinstance(state, Tensor):
        return False
    found = np.frombuffer(state.contiguous().numpy().tobytes(), MERSENNE)[0]
    return bool(
        0 < found["left"] <= 624
        and found["next"] <= 624
        and found["seeded"] in (0, 1)
        and (found["words"] < 2**32).all()
        and found["has_normal"] in (0, 1)
        and found["has_next_normal"] in (0, 1)
    )


def _bytes_of(state: object) -> int:
    return len(state) if isinstance(state, Tensor) and state.dtype == torch.uint8 and state.dim() == 1 else -1


def _is_word(value: object, most: int = 2**32 - 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _is_python_state(state: object) -> bool:
    if not isinstance(state, list) or len(state) != 3 or state[0] != 3 or not isinstance(state[1], list):
        return False
    words, gauss = state[1], state[2]
    return (
        len(words) == 625
        and all(map(_is_word, words[:-1]))
        and _is_word(words[-1], 624)
        and (gauss is None or isinstance(gauss, float))
    )


def _is_numpy_state(state: object) -> bool:
    if not isinstance(state, list) or len(state) != 5 or state[0] != "MT19937":
        return False
    keys, position, has_gauss, cached = state[1:]
    return (
        isinstance(keys, Tensor)
        and keys.shape == (624,)
        and keys.dtype == torch.int64
        and bool(((keys >= 0) & (keys < 2**32)).all())
        and _is_word(position, 624)
        and _is_word(has_gauss, 1)
        and isinstance(cached, float)
    )
