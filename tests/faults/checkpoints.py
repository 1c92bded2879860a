"""Checkpoints that are cut, damaged, or made by a stranger whose digest is right."""

from __future__ import annotations

import copy
import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from hostile import OF_LOADING, OF_RESUMING, forge

from recbole_cel.quick_start import load_data_and_model
from recbole_cel.runs import checkpoint as checkpoints

from . import tiny_runs
from .grammar import Evil, mutated, value
from .trial import Trial, unless_finite

SECONDS = 20.0
RUNS = {"FM_CEL": {}, "FM": {}, "MF_CEL": {}, "DeepFM_CEL": {"cel_personalisation": True, "cel_folds": 1}}
SIGNS = [
    b"\0",
    b"\xff" * 8,
    b"\x80\x02",
    b"c",
    b"os\nsystem\n",
    b"(",
    b"R",
    b".",
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"\x7f",
    b"q\0",
]


def prepare(folder: Path) -> None:
    tiny_runs.data(folder / "data")
    for model, more in RUNS.items():
        given = {**tiny_runs.options(folder / "data", model), **more, "checkpoint_dir": str(folder / model)}
        tiny_runs.run(model, given, saved=True)
        (last,) = (folder / model).glob("*-last.pth")
        best = checkpoints.read(last)["best_file"]
        last.with_name(best).rename(folder / model / "best.pth")
        state = checkpoints.read(last)
        state["best_file"] = "best.pth"
        checkpoints.write(folder / model / "last.pth", state)
        last.unlink()


def trial(random: Random, folder: Path) -> Trial:
    ways: list[tuple[int, Callable[[Random, Path], Trial]]] = [
        (6, _damaged), (4, _known), (8, _leaf), (3, _tensor), (2, _pickled), (1, _as_it_is),
    ]  # fmt: skip
    way = random.choices([way for _, way in ways], [weight for weight, _ in ways])[0]
    return way(random, folder)


def _trial(
    random: Random, folder: Path, model: str, what: str, write: Callable[[Path], None], refused: bool | None,
    wrong: Callable[[Path], str | None] = lambda file: None, resumes: bool | None = None,
) -> Trial:  # fmt: skip
    going_on = random.random() < 0.5 if resumes is None else resumes
    file = Path("last.pth")

    def call() -> Any:
        Path("best.pth").write_bytes((folder / model / "best.pth").read_bytes())
        write(file)
        if not going_on:
            *_, test_data = load_data_and_model(str(file))
            return test_data
        given = {**tiny_runs.options(folder / "data", model), **RUNS[model], "epochs": 2}
        return tiny_runs.run(model, {**given, "checkpoint_dir": ".", "cel_resume": str(file)}, saved=True)

    def check(result: Any) -> str | None:
        return wrong(file) or (unless_finite(result) if isinstance(result, dict) else None)

    return Trial(f"{model}, {'resumed' if going_on else 'loaded'}: {what}", call, refused, check)


def _state(folder: Path, model: str) -> dict[str, Any]:
    return checkpoints.read(folder / model / "last.pth")


def _as_it_is(random: Random, folder: Path) -> Trial:
    model = random.choice(list(RUNS))
    content = (folder / model / "last.pth").read_bytes()
    return _trial(random, folder, model, "as it is", lambda file: _write(file, content), False)


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def _damaged(random: Random, folder: Path) -> Trial:
    model = random.choice(list(RUNS))
    whole = (folder / model / "last.pth").read_bytes()
    at = random.randrange(len(whole))
    size = random.choice([1, 1, 8, 512, 4096])
    way = random.randrange(6)
    flipped = bytearray(whole)
    for _ in range(random.choice([1, 1, 3, 50])):
        flipped[random.randrange(len(whole))] ^= 1 << random.randrange(8)
    content = [
        whole[:at], bytes(flipped), whole[:at] + bytes(min(size, len(whole) - at)) + whole[at + size :],
        whole + bytes(random.randrange(256) for _ in range(size)), mutated(random, whole, SIGNS),
        whole[:at] + whole[at + size :],
    ][way]  # fmt: skip
    digest = checkpoints.digest(_state(folder, model))

    def differs(file: Path) -> str | None:
        return (
            None
            if checkpoints.digest(checkpoints.read(folder / "x" if not file.exists() else file)) == digest
            else "another content was accepted"
        )

    def unless_same(file: Path) -> str | None:
        # A run that went on has written its own state over it.
        _write(Path("again.pth"), content)
        return differs(Path("again.pth"))

    what = ["cut", "bits flipped", "zeros", "more at its end", "bytes changed", "bytes missing"][way]
    what = f"{what} at {at} of {len(whole)}"
    return _trial(random, folder, model, what, lambda file: _write(file, content), None,
                  unless_same)  # fmt: skip


def _forged(random: Random, folder: Path, model: str, what: str, state: dict[str, Any], refused: bool | None,
            resumes: bool | None = None) -> Trial:  # fmt: skip
    def write(file: Path) -> None:
        try:
            forge(file, state)
        except TypeError:  # what has no digest
            torch.save({"format": checkpoints.FORMAT, "digest": "0" * 64, "content": state}, file)

    return _trial(random, folder, model, what, write, refused, resumes=resumes)


def _known(random: Random, folder: Path) -> Trial:
    kind = random.choice([*OF_LOADING, *OF_RESUMING])
    state = _state(folder, "FM_CEL")
    {**OF_LOADING, **OF_RESUMING}[kind](state)
    return _forged(random, folder, "FM_CEL", kind, state, True, resumes=kind in OF_RESUMING)


def _places(part: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all that is in a state; of long lists to the first few only."""
    found = [path] if path else []
    if isinstance(part, dict):
        for key in part:
            found += _places(part[key], (*path, key))
    elif isinstance(part, (list, tuple)):
        for number in range(min(len(part), 4)):
            found += _places(part[number], (*path, number))
    return found


def _put(part: Any, path: tuple[Any, ...], new: Any) -> Any:
    """``part`` with the value at ``path`` changed by ``new``, which may be a function or nothing at all."""
    first, *rest = path
    changed: Any = dict(part) if isinstance(part, dict) else list(part)
    if rest:
        changed[first] = _put(changed[first], tuple(rest), new)
    elif new is NotImplemented:
        del changed[first]
    else:
        changed[first] = new
    return tuple(changed) if isinstance(part, tuple) else changed


def _leaf(random: Random, folder: Path) -> Trial:
    """One value of the state is another, or missing, or has another key."""
    model = random.choice(list(RUNS))
    state = _state(folder, model)
    # Parts are met as often as each other, however much is in them.
    part = random.choice(list(state))
    path = random.choice(_places({part: state[part]}))
    odd = [
        value(random), NotImplemented, torch.zeros(0), torch.tensor(3.0), torch.full((2, 3), math.nan),
        "x" * 10**5,
        torch.zeros(4, dtype=torch.complex64), torch.zeros(3, dtype=torch.bool), [[]] * 9, {"encoded as": "csr"},
        -1, 10**30,
        {"encoded as": "numpy", "array": 3}, torch.zeros(3, requires_grad=True),
        torch.sparse_coo_tensor(size=(3, 3)),
        torch.zeros(1).expand(10**7), copy.deepcopy(state["random"]), b"bytes", {1, 2}, 1j, float("nan"),
    ]  # fmt: skip
    new = random.choice(odd)
    state = _put(state, path, new)
    shown = "missing" if new is NotImplemented else repr(new)[:80]
    return _forged(random, folder, model, f"{path} is {shown}", state, None)


def _tensor(random: Random, folder: Path) -> Trial:
    """A tensor of another shape, type or without numbers; of the model, of the optimiser or of the generators."""
    model = random.choice(list(RUNS))
    state = _state(folder, model)
    part = random.choice(["state_dict", "optimizer", "random", "shuffle"])
    found = [path for path in _places({part: state[part]}) if isinstance(_at(state, path), torch.Tensor)]
    if not found:
        return _leaf(random, folder)
    path = random.choice(found)
    old = _at(state, path)
    parameter = part == "state_dict" and path[-1].endswith("weight")
    other = [
        old.to(torch.float64) if old.dtype != torch.float64 else old.float(),
        torch.cat([old.reshape(-1), old.reshape(-1)[:1], torch.zeros(1, dtype=old.dtype)]),
        old.reshape(-1)[:-1], "tensor",
        old.to(torch.int16), [0.0] * 4,
    ]  # fmt: skip
    if parameter or (part == "optimizer" and path[-1] != "step"):
        other += [torch.full_like(old, math.nan), torch.full_like(old, math.inf)]
    if path[-1] == "step":
        other = ["x", old.repeat(3), old - 1e9, old * math.nan, None]
    if part == "random" and path[-1] == 1:
        other += [torch.full_like(old, -1)]
    new = random.choice([one for one in other if not _is_same(one, old)])
    state = _put(state, path, new)
    return _forged(
        random, folder, model, f"{path} is {str(new)[:80]!r}", state, True, resumes=part != "state_dict" or None
    )


def _is_same(one: Any, other: torch.Tensor) -> bool:
    return isinstance(one, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)


def _at(part: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        part = part[key]
    return part


def _pickled(random: Random, folder: Path) -> Trial:
    """Pickles that run code, as they are and within a file of ours."""
    model = random.choice(list(RUNS))
    state = _state(folder, model)
    way = random.randrange(5)

    def write(file: Path) -> None:
        if way == 0:
            file.write_bytes(pickle.dumps(Evil(), protocol=random.choice([0, 2, 4, 5])))
        elif way == 1:
            torch.save(Evil(), file)
        elif way == 2:
            torch.save(Evil(), file, _use_new_zipfile_serialization=False)
        elif way == 3:
            state[random.choice(list(state))] = Evil()
            torch.save({"format": checkpoints.FORMAT, "digest": "0" * 64, "content": state}, file)
        else:
            with zipfile.ZipFile(folder / model / "last.pth") as archive:
                parts = {part.filename: archive.read(part) for part in archive.infolist()}
            with zipfile.ZipFile(file, "w") as archive:
                for name, content in parts.items():
                    archive.writestr(name, pickle.dumps(Evil()) if name.endswith(".pkl") else content)

    return _trial(random, folder, model, f"a pickle that runs code, in way {way}", write, True)
