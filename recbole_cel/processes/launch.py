"""Start the processes of a run, and end with one line if one of them does."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from tqdm import tqdm

from ..options import SHOW_TRACEBACK, SettingError
from .group import joined_as

LOCAL = ("localhost", "127.0.0.1")
# Seconds that the others have to say what was wrong, where one process ended without a word.
GRACE = 3.0
RESULT, ERROR, NOTE = "result", "error", "note"
Tell = Callable[[Any], None]


def launch(
    run: Callable[[Tell], Any],
    processes: int,
    world_size: int,
    ip: str,
    port: str,
    offset: int,
    note: Callable[[Any], None],
) -> Any:
    """Run ``run`` in several processes at once, and give what it returns in the first of them.

    Args:
        run: to be pickled; called with a function that hands notes to this process.
        processes: how many are started here.
        world_size: how many there are on all machines; -1 means those here.
        ip: of the machine with the first process.
        port: there; on a machine alone, any that is free.
        offset: number of the first process here.
        note: called with each note of the first process.

    Raises:
        ChildProcessError: if a process ends before its time.
        Exception: whatever ``run`` raises, of the first process that says so.
    """
    size = processes if world_size < 0 else world_size
    alone = size == processes and ip in LOCAL
    address = ip, _free_port() if alone else int(port)
    if not alone:
        print(f"Waiting for all {size} processes to join at {ip}:{port}.", file=sys.stderr)
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // processes)
    started, ends = [], dict[Connection, int]()
    for rank in range(offset, offset + processes):
        here, there = context.Pipe(duplex=False)
        own = (run, rank, rank - offset, size, address, threads, sys.argv, there)
        started.append(context.Process(target=_one, args=own, daemon=True))
        started[-1].start()
        there.close()
        ends[here] = rank
    try:
        return _results(ends, size, note)
    finally:
        for process in started:
            if process.is_alive():
                process.kill()
            process.join()


def _results(ends: dict[Connection, int], size: int, note: Callable[[Any], None]) -> Any:
    """Listen until all have ended; gives the result of the lowest rank."""
    results, silent, lowest = dict[int, Any](), list[int](), min(ends.values())
    errors = list[tuple[int, BaseException]]()
    while ends:
        ready = wait(list(ends), GRACE if silent or errors else None)
        if not ready:
            break
        for end in [one for one in ends if one in ready]:
            rank = ends[end]
            try:
                kind, value = end.recv()
            except EOFError:
                del ends[end]
                if rank not in results and rank not in [one for one, _ in errors]:
                    silent.append(rank)
                continue
            if kind == NOTE:
                if rank == lowest:
                    note(value)
            elif kind == RESULT:
                results[rank] = value
            else:
                errors.append((rank, value))
    if silent:
        ranks = " and ".join(map(str, sorted(silent)))
        raise ChildProcessError(errno.ECHILD, f"process {ranks} of {size} died")
    if errors:
        # One that stops leaves the others without an answer, and they then say so.
        raise min(errors, key=lambda error: (_is_of_others(error[1]), error[0]))[1]
    return results[lowest]


def _one(
    run: Callable[[Tell], Any],
    rank: int,
    local: int,
    size: int,
    address: tuple[str, int],
    threads: int,
    words: Sequence[str],
    end: Connection,
) -> None:
    """What a process does."""
    # Ctrl-C is for the process that started this one, which then ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Progress bars would else make a semaphore, which outlives a process that is killed.
    tqdm.set_lock(threading.RLock())
    sys.argv = list(words)
    torch.set_num_threads(threads)
    if rank:
        logging.disable(logging.CRITICAL)
    try:
        _take_gpu(local)
        with joined_as(rank, size, *address):
            found = RESULT, run(lambda value: end.send((NOTE, value)))
    except Exception as error:
        if SHOW_TRACEBACK in os.environ:
            raise
        found = ERROR, _sendable(error)
    with suppress(BrokenPipeError):
        end.send(found)
    end.close()


def _take_gpu(local: int) -> None:
    """Have the process use the GPU of its place on this machine, if there are any.

    Raises:
        SettingError: if there are fewer: NCCL does not let two processes share one.
    """
    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number and local >= number:
        hint = "set the environment's CUDA_VISIBLE_DEVICES to nothing to train on CPUs"
        raise SettingError("nproc", f"asks for more processes than the {number} GPUs here; {hint}")
    if number:
        torch.cuda.set_device(local)


def _end_with_parent() -> None:
    """End this process as soon as the one that started it has ended, be it killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _is_of_others(error: BaseException) -> bool:
    """Whether an error is what a process says that others have left."""
    return type(error) is RuntimeError or type(error).__module__.startswith("torch.")


def _sendable(error: Exception) -> BaseException:
    """The error itself if it can be made again from what it holds, otherwise one with its words."""
    kind = type(error)
    plain = kind.__init__ in (Exception.__init__, RuntimeError.__init__, ValueError.__init__)
    if isinstance(error, (SettingError, OSError, MemoryError)) or (plain and "<locals>" not in kind.__qualname__):
        return error
    return RuntimeError(f"{kind.__name__}: {error}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
