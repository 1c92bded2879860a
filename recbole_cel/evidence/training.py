"""What the steps of training say of each entity's own row, without a pass of their own.

The backward pass of a step leaves the gradient of the loss by every row that was looked up, and by every output.
Where the loss falls apart by interactions, the former is the latter times the derivative of the output by the row:
so that derivative, which a probe (``probe.py``) differentiates the model once more for, is there for nothing. It
is kept for each interaction, with the output that this would have without its entity's row. Rows may move
meanwhile; that the rest of the model moves, too, is what makes this evidence older than a probe's. With dropout it
is that of the thinned network of the step, where a probe sees all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..embedding.additive import AdditiveEmbedding, levels_of
from ..embedding.clustered import ClusteredEmbedding
from ..embedding.slots import Lookup
from .grouping import Chunk
from .objective import Objective
from .probe import Probe

# Derivatives that are kept, at the most: a gigabyte.
MAX_KEPT = 1 << 29
# Slopes below this tell rounding.
FLAT = 1e-30
Tables = Sequence[ClusteredEmbedding | AdditiveEmbedding]


class TrainingEvidence:
    """Keeps what one epoch of training says of all interactions.

    Args:
        objective: the training loss.
        fields: for each entity field, its tables.
        number: of interactions n.
    """

    def __init__(self, objective: Objective, fields: Mapping[str, Tables], number: int) -> None:
        self._objective = objective
        self._fields = {name: list(tables) for name, tables in fields.items()}
        device = levels_of(next(iter(self._fields.values()))[0])[0].weight.device
        self._seen = torch.zeros(number, dtype=torch.bool, device=device)
        # What other processes have met is not this one's to add a second time.
        self._mine = torch.zeros_like(self._seen) if objective.shared else self._seen
        self._pending: tuple[Tensor, Sequence[Lookup], Tensor] | None = None
        widths = {name: sum(table.embedding_dim for table in tables) for name, tables in self._fields.items()}
        # Half of the precision, of which a sum over interactions keeps enough.
        self._jacobian = {
            name: torch.zeros(number, width, dtype=torch.float16, device=device) for name, width in widths.items()
        }
        self._rest = {name: torch.zeros(number, device=device) for name in widths}

    @staticmethod
    def fits(fields: Mapping[str, Tables], number: int) -> bool:
        """Whether so many interactions can be kept, and whether the tables say what they looked up."""
        width = sum(table.embedding_dim for tables in fields.values() for table in tables)
        plain = all(level.is_plain for tables in fields.values() for table in tables for level in levels_of(table))
        additive = all(isinstance(table, AdditiveEmbedding) for tables in fields.values() for table in tables)
        return additive and plain and number * width <= MAX_KEPT

    @property
    def complete(self) -> bool:
        """Whether all interactions have been met, and what they told is within what half precision can hold."""
        kept = (*self._jacobian.values(), *self._rest.values())
        return bool(self._seen.all()) and all(bool(values.isfinite().all()) for values in kept)

    def meet(self, interactions: Tensor, lookups: Sequence[Lookup], outputs: Tensor) -> None:
        """Take a step's batch, between its forward and its backward pass.

        Args:
            interactions: numbers of its interactions, shape ``(B,)``.
            lookups: all that was looked up.
            outputs: shape ``(B,)``, what the loss was computed from.
        """
        if outputs.shape != interactions.shape or not outputs.requires_grad:
            return
        # Only where processes share a batch are there rows that nobody has; a GPU would have to be waited for.
        if self._objective.shared and bool((interactions < 0).any()):
            return
        if not outputs.is_leaf:
            outputs.retain_grad()
        self._pending = interactions, lookups, outputs

    def collect(self) -> None:
        """Keep what the backward pass of the batch that was met has left."""
        if self._pending is None:
            return
        (interactions, lookups, outputs), self._pending = self._pending, None
        if outputs.grad is None:
            return
        # Half a precision could not hold the reciprocals.
        slopes = outputs.grad.float()
        found = {
            name: [_own(table, lookups, len(outputs)) for table in tables] for name, tables in self._fields.items()
        }
        if any(one is None for of_field in found.values() for one in of_field):
            return
        some = slopes.abs() > FLAT
        scale = torch.where(some, 1 / torch.where(some, slopes, 1.0), 0.0).unsqueeze(1)
        for name, of_field in found.items():
            rows, gradients = (torch.cat(parts, dim=1) for parts in zip(*(one for one in of_field if one)))
            jacobian = (gradients * scale).to(torch.float16)
            self._jacobian[name][interactions] = jacobian
            self._rest[name][interactions] = (outputs.detach() - (jacobian.float() * rows).sum(dim=1)).float()
        self._mine[interactions] = True
        if self._objective.shared:
            self._seen[interactions] = True

    def gather(self) -> None:
        """Take what other processes have met, if there are any; all call this at once."""
        if not self._objective.shared:
            return
        others = ~self._mine
        for kept in (*self._jacobian.values(), *self._rest.values()):
            self._objective.add_up(kept.masked_fill_(others.view(-1, *[1] * (kept.dim() - 1)), 0.0))
        self._seen = self._objective.add_up(self._mine.to(torch.uint8)) > 0

    def of(self, field: str) -> TrainingProbe:
        """What is known of a field's rows."""
        return TrainingProbe(
            *(self._objective, self._fields[field], self._jacobian[field], self._rest[field], self._seen)
        )


class TrainingProbe:
    """What training told of one field's rows, as a probe of the model as it is now.

    Interactions that have not been met count nothing.
    """

    def __init__(self, objective: Objective, tables: Tables, jacobian: Tensor, rest: Tensor, seen: Tensor) -> None:
        self._objective = objective
        self._tables = tables
        self._jacobian = jacobian
        self._rest = rest
        self._seen = seen

    @torch.no_grad()
    def at(self, chunk: Chunk) -> Probe:
        """Of the interactions of a chunk."""
        some = chunk.interactions
        entities = chunk.entities[chunk.owner]
        rows = torch.cat([table(entities, chunk.fold) for table in self._tables], dim=1)
        jacobian = self._jacobian[some].to(rows.dtype)
        outputs = self._rest[some] + (jacobian * rows).sum(dim=1)
        weights = self._objective.weights(some) * self._seen[some]
        return Probe(outputs, self._objective.targets(some), weights, jacobian)


def _own(
    table: ClusteredEmbedding | AdditiveEmbedding, lookups: Sequence[Lookup], number: int
) -> tuple[Tensor, Tensor] | None:
    """Rows of a table and the gradients by them, each of shape ``(B, d)``.

    None if the table was looked up for other than one id of each interaction. Some models never look a table up.
    """
    rows = gradients = levels_of(table)[0].weight.new_zeros(number, table.embedding_dim)
    first: Tensor | None = None
    for lookup, place in ((one, n) for one in lookups for n, other in enumerate(one.tables) if other is table):
        ids = lookup.entities[place]
        if ids is None or ids.shape != (number,) or (first is not None and not torch.equal(ids, first)):
            return None
        first = ids
        rows = lookup.rows.detach()[:, place]
        if lookup.rows.grad is not None:
            gradients = gradients + lookup.rows.grad[:, place]
    return rows, gradients
