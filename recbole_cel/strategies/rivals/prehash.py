"""Buckets anchored at the most active ids; an id has those whose anchors have a history like its own."""

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
from ..budget import Cost
from ..registry import register_strategy
from ..training import Training
from .codes import FEW_VALUES, Codes, bytes_of_codes
from .history import activity, histories, most_active
from .history_codes import projected

# Similarities that are held at once.
TILE = 1 << 23
STEPS = 255


@dataclass(frozen=True)
class PreHashOptions:
    """Options of :class:`PreHashStrategy`."""

    buckets: int = option(
        4,
        "buckets of each id, or fewer if their codes and weights, of 16 buckets, took a quarter of the bytes",
        "an integer from 1 to 64",
        lambda v: is_int(v, 1, 64),
    )
    temperature: float = option(
        0.3, "of the softmax of similarities", "a number > 0", lambda v: is_number(v, 0, open=True)
    )
    directions: int = option(
        128,
        "random directions that histories are compared in",
        "an integer from 1 to 4096",
        lambda v: is_int(v, 1, 4096),
    )

    def __post_init__(self) -> None:
        check_options(self)


class Buckets(nn.Module):
    """Buckets of each id and their weights; all tables of a field share them.

    Args:
        num_entities: number of ids N.
        rows: number of buckets K.
        number: buckets of each id, B.

    Attributes:
        codes: by hashes until the data are seen.
        further: buffer of shape ``(B - 1, N)``, uint8, weights in 255ths of all buckets but the first, which has
            what is left of one; equal until the data are seen.
    """

    further: Tensor

    def __init__(self, num_entities: int, rows: int, number: int) -> None:
        super().__init__()
        self.codes = Codes(num_entities, rows, number)
        equal = torch.full((number - 1, num_entities), round(STEPS / number), dtype=torch.uint8)
        self.register_buffer("further", equal)

    def put(self, codes: Tensor, weights: Tensor) -> None:
        """Take over codes ``(B, N)``, and weights ``(B, N)`` which sum to one for each id."""
        self.codes.put(codes)
        self.further.copy_((weights[1:] * STEPS).round())

    def weights(self, ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Weights ``(B, n)`` of the buckets of ``ids`` ``(n,)``, which sum to one."""
        further = self.further[:, ids].to(dtype) / STEPS
        return torch.cat([(1 - further.sum(dim=0, keepdim=True)).clamp(min=0), further])


class BucketTable(RowTable):
    """The mean of the rows of the buckets of an id, by their weights.

    Args:
        buckets: of each id; several tables may share them.
        num_embeddings: number of ids N.
        embedding_dim: size d of a row.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows.
    """

    def __init__(
        self,
        buckets: Buckets,
        num_embeddings: int,
        embedding_dim: int,
        *,
        mean: float = 0.0,
        std: float = 0.01,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.buckets = buckets
        self.weight = nn.Parameter(torch.empty(buckets.codes.values, embedding_dim).normal_(mean, std))

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        codes, weights = self.buckets.codes(ids), self.buckets.weights(ids, self.weight.dtype)
        return F.embedding_bag(codes.T, self.weight, per_sample_weights=weights.T.contiguous(), mode="sum")


@register_strategy
class PreHashStrategy(EmbeddingStrategy[BucketTable]):
    """An id has the buckets whose anchors, the most active ids, have histories most like its own.

    Shi, Ma, Zhang, Zhang, Yu, Shan, Liu and Ma, "Beyond user embedding matrix: learning to hash for modeling
    large-scale users in recommendation" (PreHash), SIGIR 2020: ``sum_k softmax_k(similarity(i, anchor_k))
    E[k]`` over the best B buckets.

    It needs the histories once, projected to random directions, and stores B codes and B - 1 weights of a byte for
    each id. Ours: a history is the set of counterparts (the paper learns an attention over them), similarities
    are cosines of the projected averages, with a temperature, chosen once before training; ids without a history
    have buckets by hashes, as have all until the data are seen. On validation data (ml-100k) further buckets did
    worse than the rows that their bytes would be, if they took more than a quarter of them.
    """

    name = "prehash"
    suffix = "PreHash"
    prefix = "prehash_"
    Options = PreHashOptions
    about = About(
        "sum of E[k] over the k best of K anchors, by softmax of the likeness of histories",
        "Shi et al., SIGIR 2020, with fixed likeness",
        "K rows, and of each id some codes, in bits, and their weights",
        "the interactions, once",
    )

    @cached_property
    def buckets(self) -> Buckets:
        """Shared by all tables."""
        return Buckets(self.num_entities, self.size, self._num_buckets)

    def cost(self, size: int) -> Cost:
        """Of so many buckets."""
        number = self._num_buckets
        codes = bytes_of_codes(self.num_entities, size, number) + self.num_entities * (number - 1)
        return Cost(size * self.budget.width, codes)

    @classmethod
    def while_training(cls, strategies: Mapping[str, PreHashStrategy], training: Training) -> None:
        """Buckets are chosen before training."""
        for name, strategy in strategies.items():
            strategy.choose(training, name)

    def _size(self) -> int:
        """The largest, with as many buckets of an id as leave three quarters of the budget to the rows."""
        for number in range(self.options.buckets, 0, -1):
            self._num_buckets = number
            if self.budget.used(self.cost(FEW_VALUES)._replace(parameters=0)) <= self.budget.amount / 4:
                break
        return super()._size()

    def choose(self, training: Training, field: str) -> None:
        """Choose the buckets of each id by the training interactions of ``field``."""
        options, buckets = self.options, self.buckets
        counts = activity(training, field, self.num_entities)
        seen = torch.cat(
            list(projected(histories(training, field, self.num_entities), options.directions, training.seed)),
            dim=1,
        )
        # What all histories have in common, the popular counterparts, tells none apart.
        seen = F.normalize(seen - seen[counts > 0].mean(dim=0), dim=1)
        anchors = most_active(counts, self.size)
        number = min(self._num_buckets, self.size)
        codes = buckets.codes.every.cpu()
        weights = torch.zeros(codes.shape)
        weights[:] = 1 / len(codes)
        for ids in torch.arange(self.num_entities).split(max(1, TILE // self.size)):
            likeness, best = (seen[ids] @ seen[anchors].T).topk(number, dim=1)
            chosen = torch.softmax(likeness / options.temperature, dim=1)
            known = counts[ids] > 0
            codes[:number, ids[known]] = best[known].T
            weights[:, ids[known]] = 0
            weights[:number, ids[known]] = chosen[known].T
        buckets.put(codes, weights)

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> BucketTable:
        # A mean of B independent rows varies less than each of them.
        std = std * min(self._num_buckets, self.size) ** 0.5
        return BucketTable(self.buckets, self.num_entities, embedding_dim, mean=mean, std=std)
