"""What the processes of a run say to each other, on ``torch.distributed``.

Every process has all data and the whole model, and goes through the same batches, of each of which it takes its
part. Gradients are summed, so weights are the same everywhere, and so is what is decided by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..options import SettingError

# How long processes wait for each other: one may read data while others do so already, or evaluate.
PATIENCE = timedelta(hours=2)
# And for all to be there.
TO_START = timedelta(minutes=5)
# Of a digest: how many places differ, and how many times these are looked at at once.
PLACES, BLOCKS = 8191, 128
_CURRENT: list[Group] = []


class Group:
    """The processes of a run, as one of them sees them.

    Args:
        rank: number of this process.
        size: how many there are.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this is the one that logs and writes files."""
        return self.rank == 0

    def part(self, number: int) -> slice:
        """Which of so many rows are this process's."""
        return slice(number * self.rank // self.size, number * (self.rank + 1) // self.size)

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.add(torch.zeros(1))

    def add(self, values: Tensor) -> Tensor:
        """Add up, in place, what all processes have."""
        dist.all_reduce(values)
        return values

    def joined(self, part: Tensor, number: int) -> Tensor:
        """All of ``number`` rows, of which each process has its :meth:`part`."""
        whole = part.new_zeros(number, *part.shape[1:])
        whole[self.part(number)] = part
        return self.add(whole)

    def told(self, value: Any) -> Any:
        """What the first process has as ``value``."""
        told = [value]
        dist.broadcast_object_list(told)
        return told[0]

    def add_gradients(self, parameters: Iterable[nn.Parameter], weight: float) -> None:
        """Replace gradients by the sum over processes of each one's, times its ``weight``.

        A parameter keeps having no gradient if none of the processes has one.
        """
        of_type: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
        for parameter in parameters:
            of_type.setdefault((parameter.dtype, parameter.device), []).append(parameter)
        for some in of_type.values():
            present = some[0].new_tensor([float(one.grad is not None) for one in some])
            given = (one.new_zeros(one.numel()) if one.grad is None else one.grad.flatten() for one in some)
            flat = self.add(torch.cat([present, *(one * weight for one in given)]))
            parts = flat[len(some) :].split([one.numel() for one in some])
            for parameter, anywhere, part in zip(some, flat[: len(some)].tolist(), parts):
                if anywhere:
                    parameter.grad = part.view_as(parameter).clone()

    def agrees(self, tensors: Iterable[Tensor]) -> bool:
        """Whether all processes have these, judged by a digest of each."""
        digests = torch.stack([_digest(one.detach()) for one in tensors])
        lowest, highest = digests.clone(), digests
        dist.all_reduce(lowest, dist.ReduceOp.MIN)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return torch.equal(lowest, highest)


def _digest(values: Tensor) -> Tensor:
    """A sum of the bits of ``values``, in which places count, ``()``, int64."""
    bits = values.contiguous().flatten().view(torch.uint8)
    place = torch.arange(PLACES, device=bits.device) + 1
    total = torch.zeros((), dtype=torch.int64, device=bits.device)
    # In blocks, for each byte takes several times eight here.
    for block in bits.split(PLACES * BLOCKS):
        whole, rest = block.split([len(block) // PLACES * PLACES, len(block) % PLACES])
        total += (whole.view(-1, PLACES).sum(dim=0) * place).sum() + (rest * place[: len(rest)]).sum()
    return total.cpu()


def current() -> Group | None:
    """The processes of the run at hand; None where there is but this one."""
    return _CURRENT[-1] if _CURRENT else None


@contextmanager
def joined_as(rank: int, size: int, host: str, port: int) -> Iterator[Group]:
    """Join the group whose first process listens at a host and port, for the block.

    Raises:
        SettingError: if there is none.
    """
    try:
        # Each kind of tensor has its own; builds for CUDA bring NCCL along where there is no GPU.
        backends = "cpu:gloo,cuda:nccl" if dist.is_nccl_available() and torch.cuda.is_available() else "gloo"
        store = dist.TCPStore(host, port, size, is_master=rank == 0, timeout=TO_START)
        dist.init_process_group(backends, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SettingError(
            "ip", f"and port must be where process 0 listens; {host}:{port} fails: {reason}"
        ) from None
    _CURRENT.append(Group(rank, size))
    try:
        yield _CURRENT[-1]
    finally:
        _CURRENT.pop()
    # Left out after an error: the others may never come.
    dist.destroy_process_group()


def told_by_first(value: Any) -> Any:
    """What the first process has as ``value``; without others, that is this one."""
    group = current()
    return value if group is None else group.told(value)


def first_before_others(make: Callable[[], Any]) -> Any:
    """Call ``make`` in the first process, and then in the others, which find what it has fetched."""
    group = current()
    if group is not None and not group.first:
        group.wait()
    made = make()
    if group is not None and group.first:
        group.wait()
    return made
