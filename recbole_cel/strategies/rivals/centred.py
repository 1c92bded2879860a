"""Full tables whose rows are drawn to centres, which may be served in their place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...embedding import RowTable
from .codes import Codes


def means(rows: Tensor, groups: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Mean ``(number, d)`` of the ``rows`` ``(n, d)`` of each group, zero for an empty one; how many it has."""
    counts = torch.bincount(groups, minlength=number).to(rows).unsqueeze(1)
    return rows.new_zeros(number, rows.shape[1]).index_add_(0, groups, rows) / counts.clamp(min=1), counts


class CentredTable(RowTable):
    """A row for each id; in evaluation that of its centre, if the centres are what is served.

    Centres are what minimises the distances of the own rows to them. When the table is put into evaluation mode,
    they are found anew. The gradient of a row goes to the own row in any case.

    Args:
        codes: the centre of each id; several tables may share them.
        num_embeddings: number of ids N.
        embedding_dim: size d of a row.
        serves_centres: whether centres are served.
        roots: the centres of centres, if there are any; several tables may share them.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows.

    Attributes:
        weight: parameter of shape ``(N, d)``, the own rows.
        centres: buffer of shape ``(K, d)``.
    """

    centres: Tensor

    def __init__(
        self,
        codes: Codes,
        num_embeddings: int,
        embedding_dim: int,
        serves_centres: bool,
        roots: Codes | None = None,
        *,
        mean: float = 0.0,
        std: float = 0.01,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.codes = codes
        self.roots = roots
        self.serves_centres = serves_centres
        self.weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim).normal_(mean, std))
        self.register_buffer("centres", torch.zeros(codes.values, embedding_dim))
        self.refresh()

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        own = F.embedding(ids, self.weight)
        if self.training or not self.serves_centres:
            return own
        found = F.embedding(self.codes(ids)[0], self.centres)
        return found + (own - own.detach()) if torch.is_grad_enabled() else found

    def train(self, mode: bool = True) -> CentredTable:
        """As of any module; for evaluation, centres are found anew."""
        if self.training and not mode:
            self.refresh()
        return super().train(mode)

    @torch.no_grad()
    def refresh(self) -> None:
        """Find the centres anew."""
        if not self.centres.is_meta:
            self.centres.copy_(self.present_centres()[0])

    def present_means(self) -> Tensor:
        """The mean ``(K, d)`` of the present own rows of each centre, zero for one without ids."""
        return means(self.weight.detach(), self.codes.every[0], self.codes.values)[0]

    def present_centres(self) -> tuple[Tensor, Tensor | None]:
        """Centres ``(K, d)`` of the present own rows, and the centres of these, if there are any, ``(R, d)``.

        With roots, a centre c of n ids under a root r is what minimises ``sum ||e - c||^2 + ||c - r||^2``, the
        mean of the ids' rows and the root; a root is the mean of such means.
        """
        groups = self.codes.every[0]
        found, counts = means(self.weight.detach(), groups, self.codes.values)
        if self.roots is None:
            return found, None
        used = counts.squeeze(1) > 0
        parents = self.roots.every[0]
        roots, _ = means(found[used], parents[used], self.roots.values)
        return (counts * found + roots[parents]) / (counts + 1), roots

    def distances(self) -> Tensor:
        """Sum of the squared distances of own rows to centres, and of centres to theirs."""
        centres, roots = self.present_centres()
        total = (self.weight - centres[self.codes.every[0]]).square().sum()
        if roots is not None and self.roots is not None:
            total = total + (centres - roots[self.roots.every[0]]).square().sum()
        return total
