"""How a model's output depends on an entity's own row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..embedding.clustered import ClusteredEmbedding
from ..embedding.slots import Slot, record_slots
from .grouping import Chunk
from .numerics import check_finite
from .objective import Objective


class Seen(Protocol):
    """What is known of all interactions, without another pass."""

    def at(self, chunk: Chunk) -> Probe:
        """Of those of a chunk."""


class Probe(NamedTuple):
    """One forward and one backward pass over the interactions of a chunk.

    D is the summed width of the tables that share the field's assignment.

    Attributes:
        outputs: shape ``(B,)``.
        targets: shape ``(B,)``.
        weights: shape ``(B,)``, what each interaction counts in the loss.
        jacobian: shape ``(B, D)``, derivative of each output with respect to its entity's own row.
    """

    outputs: Tensor
    targets: Tensor
    weights: Tensor
    jacobian: Tensor

    def of(self, interactions: Tensor) -> Probe:
        """The part of some interactions, by their positions in this probe."""
        return Probe(*(values.index_select(0, interactions) for values in self))

    def at(self, chunk: Chunk) -> Probe:
        """The part of a chunk, if this is a probe of all interactions."""
        return self.of(chunk.interactions)


def probe(objective: Objective, tables: Sequence[ClusteredEmbedding], chunk: Chunk) -> Probe:
    """Run the model on ``chunk`` and differentiate its outputs by the rows that ``tables`` returned.

    Raises:
        ValueError: if the model looks a table up for several ids of an interaction.
        NumericalError: if outputs or derivatives are not finite.
    """
    return probe_several(objective, [tables], chunk.interactions)[0]


def probe_chunk(
    objective: Objective, tables: Sequence[ClusteredEmbedding], chunk: Chunk, max_interactions: int
) -> Probe:
    """As :func:`probe`, with at most ``max_interactions`` in one pass."""
    pieces = [probe(objective, tables, piece) for piece in chunk.pieces(max_interactions)]
    return Probe(*(torch.cat(values) for values in zip(*pieces)))


def probe_several(
    objective: Objective, fields: Sequence[Sequence[ClusteredEmbedding]], interactions: Tensor
) -> list[Probe]:
    """As :func:`probe` for the tables of several fields, in one pass.

    Raises:
        ValueError: if the model looks a table up for several ids of an interaction.
        NumericalError: if outputs or derivatives are not finite.
    """
    every = list(dict.fromkeys(chain.from_iterable(fields)))
    with torch.enable_grad():
        with record_slots(every) as slots:
            outputs = objective.outputs(interactions)
        for found in slots.values():
            _check_one_entity(found, len(outputs))
        leaves = [slot.rows for found in slots.values() for slot in found]
        # Outputs do not depend on each other, so the gradient of their sum holds each one's own.
        grads = torch.autograd.grad(outputs.sum(), leaves, allow_unused=True) if leaves else ()
    targets, weights = objective.targets(interactions), objective.weights(interactions)
    outputs = outputs.detach()
    remaining, jacobian = iter(grads), dict[ClusteredEmbedding, Tensor]()
    for table in every:
        # A model may own a table that it does not use, as some of RecBole's do; its derivative is zero.
        total = outputs.new_zeros(len(outputs), table.embedding_dim)
        for grad in islice(remaining, len(slots[table])):
            if grad is not None:
                total = total + grad.reshape(len(outputs), -1, table.embedding_dim).sum(dim=1)
        jacobian[table] = total
    check_finite(outputs, "outputs")
    for derivatives in jacobian.values():
        check_finite(derivatives, "derivatives of outputs")
    jacobians = (torch.cat([jacobian[table] for table in tables], dim=1) for tables in fields)
    return [Probe(outputs, targets, weights, of_field) for of_field in jacobians]


def _check_one_entity(slots: Sequence[Slot], number: int) -> None:
    """Check that each of so many interactions looked one entity of a table up, be it several times."""
    first: Tensor | None = None
    for slot in slots:
        shape = tuple(slot.entities.shape)
        if shape[:1] != (number,):
            raise ValueError(
                f"a clustered table must be looked up for the id of each interaction, but ids of shape {shape} "
                f"were looked up for {number} interactions"
            )
        ids = slot.entities.reshape(number, *shape[1:], 1).flatten(1)
        first = ids[:, :1] if first is None else first
        if not bool((ids == first).all()):
            raise ValueError(
                "a clustered table must be looked up for one id of each interaction, but lookup "
                f"{slot.call + 1}, of shape {shape}, was of others; its clusters cannot change"
            )


def probe_everything(
    objective: Objective,
    fields: Mapping[str, Sequence[ClusteredEmbedding]],
    num_interactions: int,
    max_interactions: int,
) -> dict[str, Probe]:
    """A probe of all interactions for each of several fields."""
    numbers = torch.arange(num_interactions, device=next(iter(fields.values()))[0].weight.device)
    parts = [probe_several(objective, list(fields.values()), some) for some in numbers.split(max_interactions)]
    found = [Probe(*(torch.cat(values) for values in zip(*field))) for field in zip(*parts)]
    return dict(zip(fields, found))


def shared_rows(tables: Sequence[ClusteredEmbedding]) -> Tensor:
    """The rows of all clusters, tables side by side, shape ``(K, D)``."""
    return torch.cat([table.weight.detach() for table in tables], dim=1)


def is_linear_in_row(objective: Objective, tables: Sequence[ClusteredEmbedding], chunk: Chunk) -> bool:
    """Whether the outputs are linear in the entity's row (as in FM), found by trying.

    The rows are moved a long way (ten times their own size, and at least by one), where an MLP bends, and the
    outputs are compared with what the Jacobian predicts.
    """
    seen = probe(objective, tables, chunk)
    generator = torch.Generator().manual_seed(0)
    saved = [table.weight.detach().clone() for table in tables]
    moves = []
    try:
        with torch.no_grad():
            for table in tables:
                size = 1.0 + 10.0 * float(table.weight.abs().max())
                step = torch.randn(table.embedding_dim, generator=generator).to(table.weight) * size
                table.weight.add_(step)
                moves.append(step)
            moved = objective.outputs(chunk.interactions)
    finally:
        with torch.no_grad():
            for table, rows in zip(tables, saved):
                table.weight.copy_(rows)
    predicted: Tensor = seen.outputs + seen.jacobian @ torch.cat(moves)
    scale = float((moved - seen.outputs).abs().max()) + float(seen.outputs.abs().max()) + 1e-6
    return float((moved - predicted).abs().max()) <= 1e-4 * scale
