"""Full tables whose rows are drawn to the leaves of a tree."""

from __future__ import annotations

import math
from functools import cached_property

import torch

from ..base import About
from ..registry import register_strategy
from .codes import Codes, bytes_of_codes
from .jnkm import JNKMStrategy
from .k_means import k_means


@register_strategy
class ETreeStrategy(JNKMStrategy):
    """Rows are drawn to centres, and these to centres of their own: a tree of two levels.

    Almutairi, Wang, Wang, Zhao and Sidiropoulos, "eTREE: learning tree-structured embeddings", AAAI 2021: the loss
    has besides ``lambda (sum_i ||e_i - c_a(i)||^2 + sum_k ||c_k - r_b(k)||^2)``; the tree is found by k-means of
    the rows, and of the centres, now and then.

    What it needs and what is served is as for ``jnkm``; the upper level is for training only. Ours: there are as
    many roots as the square root of the number of leaves; leaves and roots minimise the distances at any time, a
    leaf as the mean of its rows and its root, a root (to first order) as the mean of its leaves' means.
    """

    name = "etree"
    suffix = "ETree"
    prefix = "etree_"
    about = About(
        "under a budget ca(i), otherwise E[i], which is drawn to ca(i), and that to rb(a(i))",
        "Almutairi et al., AAAI 2021",
        "K centres and a code of each id; a row of each id where there is no budget",
        "a full table and the tree",
    )

    @cached_property
    def roots(self) -> Codes:
        """The root of each leaf, shared by all tables."""
        return Codes(self.size, num_roots(self.size))

    def cluster_centres(self, seed: int) -> None:
        """The root of each leaf is found by k-means of the means of its rows."""
        rows = torch.cat([table.present_means() for table in self.tables], dim=1)
        _, roots = k_means(lambda ids: rows[ids.to(rows.device)], self.size, self.roots.values, seed)
        self.roots.put(roots.unsqueeze(0))

    def _bytes_of_roots(self, size: int) -> int:
        return bytes_of_codes(size, num_roots(size))


def num_roots(leaves: int) -> int:
    """Roots for so many leaves."""
    return math.isqrt(max(1, leaves - 1)) + (leaves > 1)
