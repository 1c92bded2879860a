"""Disks that are full, folders that cannot be written, and files where folders should be."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

from recbole_cel.runs import checkpoint as checkpoints

from . import tiny_runs
from .trial import Trial, unless_finite

SECONDS = 20.0
MODELS = ("FM_CEL", "MF_CEL", "FM")
begun = False


def prepare(folder: Path) -> None:
    tiny_runs.data(folder / "data")


def trial(random: Random, folder: Path) -> Trial:
    return random.choice([_full, _full, _limited, _blocked, _blocked, _unreadable])(random, folder)


def _trial(folder: Path, model: str, what: str, spoil: Callable[[], Any], refused: bool | None, early: bool,
           **given: Any) -> Trial:  # fmt: skip
    def call() -> Any:
        _watch_training()
        options = {**tiny_runs.options(folder / "data", model), "epochs": 2, **given}
        spoil()
        return tiny_runs.run(model, options, saved=True)

    return Trial(f"{model}: {what}", call, refused, unless_finite, _left, lambda: early and begun)


def _watch_training() -> None:
    from recbole.trainer import Trainer

    train = Trainer._train_epoch

    def watched(self: Any, *args: Any, **options: Any) -> Any:
        global begun
        begun = True
        return train(self, *args, **options)

    Trainer._train_epoch = watched


def _left() -> str | None:
    """What is wrong with the files that are left: each that has its name is whole, and no other is there."""
    for file in Path().rglob("*"):
        if file.name.endswith(".tmp"):
            return f"{file} was left"
        if file.name.endswith(".pth") and file.is_file():
            try:
                checkpoints.read(file)
            except checkpoints.CheckpointError as error:
                return str(error)
    return None


def _full(random: Random, folder: Path) -> Trial:
    """Writing fails at some time, as on a full disk."""
    places = {"save": (torch, "save"), "sync": (os, "fsync"), "rename": (os, "replace"),
              "make": (tempfile, "mkstemp"),
              "mkdir": (os, "mkdir"), "write": (os, "write")}  # fmt: skip
    name, at = random.choice(list(places)), random.choice([0, 0, 1, 2, 3])
    code = random.choice([errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
    half = random.random() < 0.5

    def spoil() -> None:
        module, attribute = places[name]
        whole, times = getattr(module, attribute), 0

        def fails(*args: Any, **options: Any) -> Any:
            nonlocal times
            times += 1
            if times <= at:
                return whole(*args, **options)
            if name == "save" and half and hasattr(args[1], "write"):
                args[1].write(b"PK\x03\x04" * 99)
            raise OSError(code, os.strerror(code))

        setattr(module, attribute, fails)

    return _trial(folder, random.choice(MODELS), f"{os.strerror(code)} at {name} {at}", spoil, None, False)


def _limited(random: Random, folder: Path) -> Trial:
    most = int(10 ** random.uniform(2, 5.5))

    def spoil() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    trial = _trial(folder, random.choice(MODELS), f"files of at most {most} bytes", spoil, None, False)

    def call() -> Any:
        try:
            return trial.call()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    return Trial(trial.what, call, None, trial.wrong, trial.after)


def drop_rights() -> None:
    """Root writes and reads whatever it wants; without its capabilities it is a user like any other."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _blocked(random: Random, folder: Path) -> Trial:
    """What a run writes to is no folder, or a locked one; known before training."""
    given: dict[str, Any] = {}
    name = random.choice(["saved", "log", "log_tensorboard", "elsewhere", "."])
    way = random.choice(["file", "locked", "link", "deep"])
    if name == "elsewhere":
        given = {
            "checkpoint_dir": random.choice(["elsewhere", "elsewhere/a/b", str(Path("elsewhere").absolute())])
        }
    if name == ".":
        way = "locked"
    if name == "elsewhere" and random.random() < 0.2:
        given, way = (
            {"checkpoint_dir": random.choice(["/proc/none", "/dev/null", "/sys/x", "/dev/null/a"])},
            "system",
        )

    def spoil() -> None:
        place = Path(name)
        if way == "file":
            place.write_text("")
        elif way == "locked":
            place.mkdir(exist_ok=True)
            place.chmod(0o555)
        elif way == "link":
            place.symlink_to("/proc/none")
        elif way == "deep":
            (place.parent / name).symlink_to(name)  # a link to itself
        drop_rights()

    return _trial(folder, random.choice(MODELS), f"{name} is {way} {given}", spoil, True, True, **given)


def _unreadable(random: Random, folder: Path) -> Trial:
    end = random.choice(["inter", "user", "item"])
    way = random.choice(["locked", "folder", "locked folder", "link", "pipe"])
    place = Path("data/tiny")

    def spoil() -> None:
        place.mkdir(parents=True)
        for name in ("inter", "user", "item"):
            (place / f"tiny.{name}").write_bytes((folder / "data" / "tiny" / f"tiny.{name}").read_bytes())
        file = place / f"tiny.{end}"
        if way == "locked":
            file.chmod(0)
        elif way == "locked folder":
            place.chmod(0)
        else:
            file.unlink()
        if way == "folder":
            file.mkdir()
        elif way == "link":
            file.symlink_to("nowhere")
        elif way == "pipe":
            os.mkfifo(file)
        drop_rights()

    # Of users and items there need be no file, and what is none is passed over.
    refused = None if way in ("folder", "link", "pipe") and end != "inter" else True
    return _trial(
        folder,
        random.choice(MODELS),
        f".{end}: {way}",
        spoil,
        refused,
        True,
        data_path=str(Path("data").absolute()),
    )
