"""Differentiable product quantisation, and multi-granular codes for rare ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...embedding import RowTable
from ...options import check_options, is_int, is_number, option
from ..base import About, EmbeddingStrategy
from ..budget import BYTES_PER_NUMBER, Cost
from ..registry import register_strategy
from ..storage import Storage
from ..training import Training
from .acting import ActingHook
from .history import activity, most_active
from .k_means import k_means, nearest
from .row_state import renew_state

# By which it is seen how many parts a budget leaves room for.
CODEWORDS = 256


@dataclass(frozen=True)
class ProductQuantisationOptions:
    """Options of :class:`ProductQuantisationStrategy`."""

    parts: int = option(
        4,
        "parts of a row, each with a code, or fewer if these took half of the bytes",
        "an integer from 1 to 64",
        lambda v: is_int(v, 1, 64),
    )
    commitment: float = option(
        1.0, "pull of an own row to its codewords, beside the loss", "a number >= 0", lambda v: is_number(v, 0)
    )
    start: float = option(
        1.0,
        "epochs after which own rows, until then free, are quantised by k-means; 0 is from the start",
        "a number >= 0",
        lambda v: is_number(v, 0),
    )
    rare_share: float = option(
        0.0,
        "share of the ids, the least active ones, that have a choice of fewer codewords",
        "a number from 0 to 1",
        lambda v: is_number(v, 0) and v <= 1,
    )
    rare_codewords: int = option(16, "codewords that those have", "an integer >= 1", lambda v: is_int(v, 1))

    def __post_init__(self) -> None:
        check_options(self)


class Rare(nn.Module):
    """Which ids have a choice of fewer codewords; all tables of a field share it.

    Attributes:
        ids: buffer of shape ``(N,)``, bool; of shape ``(0,)`` if there are none.
    """

    ids: Tensor

    def __init__(self, num_entities: int, share: float, codewords: int) -> None:
        super().__init__()
        self.number, self.codewords = int(num_entities * share), codewords
        self.register_buffer("ids", torch.arange(num_entities if self.number else 0) >= num_entities - self.number)


class QuantisedTable(RowTable):
    """Each part of a row is the nearest of K codewords to the same part of a row of a full table.

    The gradient of a row goes to its codewords and, straight through, to the row of the full table.

    Args:
        rare: who has a choice of fewer codewords; several tables may share it.
        num_embeddings: number of ids N.
        embedding_dim: size d of a row.
        codewords: number of codewords K of each part.
        parts: number of parts, or as many as a row has numbers.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows.

    Attributes:
        own: parameter of shape ``(N, d)``, needed in training only.
        weight: parameter of shape ``(K, d)``, the codewords of all parts side by side.
        quantised: buffer of one bool, whether it is; otherwise rows are own ones, for a start.
        pull: mean squared distance of the own rows of the last batch in training to their codewords.
    """

    quantised: Tensor

    def __init__(
        self,
        rare: Rare,
        num_embeddings: int,
        embedding_dim: int,
        codewords: int,
        parts: int,
        *,
        mean: float = 0.0,
        std: float = 0.01,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.rare = rare
        self.splits = [len(part) for part in torch.arange(embedding_dim).tensor_split(min(parts, embedding_dim))]
        self.own = nn.Parameter(torch.empty(num_embeddings, embedding_dim).normal_(mean, std))
        self.weight = nn.Parameter(torch.empty(codewords, embedding_dim).normal_(mean, std))
        self.register_buffer("quantised", torch.ones((), dtype=torch.bool))
        self.pull: Tensor | None = None

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        own = F.embedding(ids, self.own)
        if not self.quantised:
            return own
        codes = self.codes(ids)
        codewords = self.weight.split(self.splits, dim=1)
        found = torch.cat([F.embedding(code, words) for code, words in zip(codes, codewords)], dim=1)
        if not torch.is_grad_enabled():
            return found
        if self.training:
            self.pull = (own - found.detach()).square().sum(dim=1).mean()
        return found + (own - own.detach())

    @torch.no_grad()
    def codes(self, ids: Tensor) -> Tensor:
        """The codeword of each part of ``ids`` ``(n,)``, of shape ``(parts, n)``, int64."""
        own = F.embedding(ids, self.own).split(self.splits, dim=1)
        parts = list(zip(own, self.weight.split(self.splits, dim=1)))
        found = torch.stack([nearest(part, words) for part, words in parts])
        if self.rare.number:
            few = self.rare.codewords
            rare = self.rare.ids[ids]
            of_few = torch.stack([nearest(part, words[:few]) for part, words in parts])
            found = torch.where(rare, of_few, found)
        return found


@register_strategy
class ProductQuantisationStrategy(EmbeddingStrategy[QuantisedTable]):
    """Parts of rows are codewords, chosen by the nearest to a full table that is trained beside them.

    Chen, Li and Sun, "Differentiable product quantization for end-to-end embedding compression" (DPQ, with the
    nearest codeword), ICML 2020: part p of the row of i is ``C_p[argmin_k ||Q_p[i] - C_p[k]||]``, straight
    through.
    With ``rare_share``, Kang, Cheng, Chen, Yi, Lin, Hong and Chi, "Learning multi-granular quantized embeddings
    for large-vocab categorical features in recommender systems" (MGQE), WWW Companion 2020: rare ids see only the
    first K' codewords.

    Served are the codewords and the codes, in as many bits as they need; training needs a full table beside them,
    so that no budget of training bytes below that can be kept. Budgets in rows and parameters count codewords.

    Ours: codewords learn by the loss, and own rows are pulled to them; in the first epoch rows are the own ones,
    and the codewords then come from k-means (Adam's memory of them ends); each table has codes of its own, a
    narrow one a part for each of its numbers at most. While rows are still own ones, no epoch counts as the best.
    """

    name = "product_quantisation"
    suffix = "ProductQuantisation"
    prefix = "product_quantisation_"
    Options = ProductQuantisationOptions
    about = About(
        "for each part p: Cp[nearest codeword to Qp[i]]",
        "Chen et al., ICML 2020; rare ids: Kang et al., WWW 2020",
        "K codewords of each part, and a code of each id in each part, in bits",
        "a full table",
    )

    @cached_property
    def rare(self) -> Rare:
        """Shared by all tables."""
        return Rare(self.num_entities, self.options.rare_share, min(self.size, self.options.rare_codewords))

    def cost(self, size: int) -> Cost:
        """Of so many codewords in each part."""
        width = self.budget.width
        served = size * width * BYTES_PER_NUMBER + self._bytes_of_codes(size)
        rare = self.num_entities if self._num_rare else 0
        parameters = (self.num_entities + size) * width
        return Cost(parameters, training_codes=rare, served=served, numbers=size * width)

    def storage(self, optimiser: torch.optim.Optimizer | None = None) -> Storage:
        """Own rows are for training; codes, which are found anew there, are for serving."""
        found = super().storage(optimiser)
        own = sum(table.own.numel() * table.own.element_size() for table in self.tables)
        codes = self._bytes_of_codes(self.size)
        return found._replace(rows=found.rows - own, codes=codes, training_codes=found.codes + own - codes)

    def penalty(self, num_examples: int) -> Tensor | None:
        """Own rows of the batch are pulled to their codewords."""
        pulls = [table.pull for table in self.tables if table.pull is not None]
        for table in self.tables:
            table.pull = None
        return self.options.commitment * torch.stack(pulls).sum() if pulls and self.options.commitment else None

    @classmethod
    def while_training(
        cls, strategies: Mapping[str, ProductQuantisationStrategy], training: Training
    ) -> CodewordsHook | None:
        """Rare ids are found before training; codewords once, after a while."""
        for name, strategy in strategies.items():
            if strategy.rare.number:
                counts = activity(training, name, strategy.num_entities)
                order = most_active(counts, strategy.num_entities)
                strategy.rare.ids.fill_(False)
                strategy.rare.ids[order[-strategy.rare.number :]] = True
        start = next(iter(strategies.values())).options.start
        return CodewordsHook(strategies, training, start) if start else None

    def _size(self) -> int:
        """The largest, with as many parts as leave half of the budget to the codewords, were these so many."""
        for number in range(self.options.parts, 0, -1):
            self._parts = number
            if self.budget.bytes is None or self._bytes_of_codes(CODEWORDS) <= self.budget.bytes / 2:
                break
        return super()._size()

    @property
    def _num_rare(self) -> int:
        return int(self.num_entities * self.options.rare_share)

    def _bytes_of_codes(self, size: int) -> int:
        """Codes in bits; with rare ids, one bit more says which these are."""
        parts = sum(min(self._parts, width) for width in self.budget.widths)
        rare, few = self._num_rare, min(size, self.options.rare_codewords)
        bits = parts * ((self.num_entities - rare) * _bits(size) + rare * _bits(few))
        return -(-(bits + (self.num_entities if rare else 0)) // 8)

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> QuantisedTable:
        return QuantisedTable(
            self.rare, self.num_entities, embedding_dim, self.size, self._parts, mean=mean, std=std
        )


def _bits(values: int) -> int:
    """Bits that tell so many values apart."""
    return max(0, values - 1).bit_length()


class CodewordsHook(ActingHook[ProductQuantisationStrategy]):
    """Rows are own ones for a while, and then quantised, with codewords that k-means finds."""

    what = "quantisation"

    def __init__(
        self, strategies: Mapping[str, ProductQuantisationStrategy], training: Training, interval: float
    ) -> None:
        super().__init__(strategies, training, interval, times=1)
        for strategy in strategies.values():
            for table in strategy.tables:
                table.quantised.fill_(False)

    @property
    def settled(self) -> bool:
        """Whether rows are quantised."""
        return self.acts > 0

    def act(self, name: str, strategy: ProductQuantisationStrategy) -> dict[str, float]:
        """Find the codewords of one field."""
        error, total = 0.0, 0.0
        for table in strategy.tables:
            centres = list[Tensor]()
            for part in range(len(table.splits)):

                def rows(ids: Tensor, table: QuantisedTable = table, part: int = part) -> Tensor:
                    return table.own[ids.to(table.device)].split(table.splits, dim=1)[part]

                found, members = k_means(rows, strategy.num_entities, strategy.size, self.seed + part)
                # Those of most ids first: rare ids see no others.
                sizes = torch.bincount(members, minlength=strategy.size)
                centres.append(found[sizes.argsort(descending=True, stable=True)])
            with torch.no_grad():
                table.weight.copy_(torch.cat(centres, dim=1))
                renew_state(self.training.optimiser, table.weight)
                table.quantised.fill_(True)
                every = torch.arange(strategy.num_entities, device=table.device)
                for ids in every.split(1 << 16):
                    own = table.own[ids]
                    error += float((own - table.rows(ids)).square().sum())
                    total += float(own.square().sum())
        return {"codewords": float(strategy.size), "relative error": error / max(total, 1e-30)}
