"""Means, spreads and paired tests over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy import stats

LEVELS = ((0.01, "**"), (0.05, "*"))


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds; None of a single one."""
    return statistics.stdev(values) if len(values) > 1 else None


def p_value(ours: Sequence[float], rival: Sequence[float]) -> float | None:
    """Two-sided p of the paired t-test of values by seed, in the same order.

    None where there are fewer than two pairs, or all differences are the same, of which a t-test knows nothing.
    """
    if len(ours) != len(rival) or len(ours) < 2:
        return None
    differences = [one - other for one, other in zip(ours, rival)]
    if max(differences) - min(differences) <= 1e-12 * max(map(abs, ours)):
        return None
    found = float(stats.ttest_rel(ours, rival).pvalue)
    return None if math.isnan(found) else found


def mark(p: float | None) -> str:
    """``*`` for p < .05, ``**`` for p < .01."""
    return "" if p is None else next((stars for level, stars in LEVELS if p < level), "")


def places(values: Sequence[float | None], lower: bool, digits: int) -> tuple[set[int], set[int]]:
    """Which values are best, and which are second best.

    Values that look the same at so many digits share a place.
    """
    shown = {number: round(value, digits) for number, value in enumerate(values) if value is not None}
    ranks = sorted(set(shown.values()), reverse=not lower)
    best, second = (
        {number for number, value in shown.items() if place < len(ranks) and value == ranks[place]}
        for place in (0, 1)
    )
    return best, second


def marks(values: Sequence[Sequence[float] | None], ours: Sequence[bool], lower: bool) -> list[str]:
    """For each row, the mark of how sure it is that it is better than the best of its rivals.

    Args:
        values: of each row, by seed; None where there are none.
        ours: which rows are held against the best of the others. The best of the others has a mark if it is
            better than the best of these. Where all are alike, the best is held against the second best.
        lower: whether lower is better.
    """
    sign = -1 if lower else 1
    means = [None if not of_row else sign * statistics.mean(of_row) for of_row in values]
    order = sorted((n for n, mean in enumerate(means) if mean is not None), key=lambda n: -float(means[n] or 0.0))
    found = [""] * len(values)
    if len({ours[n] for n in order}) < 2:
        pairs = [(order[0], order[1])] if len(order) > 1 else []
    else:
        best_rival = next(n for n in order if not ours[n])
        best_own = next(n for n in order if ours[n])
        pairs = [(n, best_rival) for n in order if ours[n]] + [(best_rival, best_own)]
    for one, other in pairs:
        if float(means[one] or 0.0) > float(means[other] or 0.0):
            found[one] = mark(p_value(values[one] or (), values[other] or ()))
    return found
