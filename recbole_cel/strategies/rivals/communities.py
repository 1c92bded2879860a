"""Communities of a bipartite graph by its modularity, as many as asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Labels = NDArray[np.int64]
Numbers = NDArray[np.float64]
ROUNDS = 20
# The resolution is doubled so often at most until there are enough communities.
DOUBLINGS = 12


def modularity(graph: csr_matrix, left: Labels, right: Labels, resolution: float = 1.0) -> float:
    """Barber's modularity of labels of both sides of ``graph`` ``(N, M)``: of the edges that stay within a label,
    as a share of all, less what is to be expected."""
    edges = graph.tocoo()
    total = edges.data.sum()
    within = edges.data[left[edges.row] == right[edges.col]].sum()
    number = max(left.max(), right.max()) + 1
    degrees = [_degrees(graph, axis, labels, number) for axis, labels in ((1, left), (0, right))]
    return float(within / total - resolution * (degrees[0] @ degrees[1]) / total**2)


def communities(graph: csr_matrix, number: int, resolution: float | None = None) -> Labels:
    """Labels ``0 .. number - 1`` of the rows of ``graph`` ``(N, M)``; -1 for rows without edges.

    As Louvain's method: nodes move to where the modularity gains most, then whole communities are merged. Nodes of
    one side have no edges among themselves, so that all of them can move at once. The method has no chance in it.

    Args:
        graph: weights of the edges.
        number: of communities, at most.
        resolution: of the modularity; None is the least of 1, 2, 4 ... that gives so many communities.
    """
    graph = graph.astype(np.float64)
    tried = [resolution] if resolution is not None else [2.0**n for n in range(DOUBLINGS)]
    for value in tried:
        left, right = _moved(graph, value)
        if _number(left) >= number:
            break
    left, right = _merged(graph, left, right, number, value)
    moved = _moved(graph, value, left, right)
    if _number(moved[0]) == _number(left):  # otherwise communities that were asked for were left by all
        left, right = moved
    found = np.full(len(left), -1)
    present = left >= 0
    found[present] = np.unique(left[present], return_inverse=True)[1]
    return found


def _number(labels: Labels) -> int:
    return len(np.unique(labels[labels >= 0]))


def _degrees(graph: csr_matrix, axis: int, labels: Labels, number: int) -> Numbers:
    """Sum of the degrees of one side's nodes with each label."""
    degrees, present = np.asarray(graph.sum(axis=axis)).ravel(), labels >= 0
    return np.bincount(labels[present], degrees[present], number).astype(np.float64)


def _moved(
    graph: csr_matrix, resolution: float, left: Labels | None = None, right: Labels | None = None
) -> tuple[Labels, Labels]:
    """Both sides move in turn; without labels, every node begins alone, and may stay so."""
    alone = left is None or right is None
    left = np.full(graph.shape[0], -1) if left is None else left
    right = np.arange(graph.shape[1]) if right is None else right
    turned = graph.T.tocsr()
    for _ in range(ROUNDS):
        before = left, right
        left = _best(graph, left, right, resolution, alone)
        right = _best(turned, right, left, resolution, alone)
        if np.array_equal(left, before[0]) and np.array_equal(right, before[1]):
            break
    return left, right


def _best(graph: csr_matrix, own: Labels, others: Labels, resolution: float, alone: bool) -> Labels:
    """The label with the largest gain for each row, given those of the columns; the smallest of equals."""
    number = int(max(own.max(initial=0), others.max(initial=0))) + 1
    total, present = graph.sum(), np.flatnonzero(others >= 0)
    shape = (graph.shape[1], number)
    towards = graph @ csr_matrix((np.ones(len(present)), (present, others[present])), shape=shape)
    towards.sort_indices()
    expected = _degrees(graph, 0, others, number) * resolution / total
    degrees = np.asarray(graph.sum(axis=1)).ravel()
    rows = np.repeat(np.arange(graph.shape[0]), np.diff(towards.indptr))
    gains = towards.data - degrees[rows] * expected[towards.indices]
    first, places = _largest(rows, gains)
    found = own.copy()
    found[first] = towards.indices[places]
    if alone:
        leaves = first[gains[places] < 0]
        found[leaves] = number + np.arange(len(leaves))
    return found


def _largest(rows: Labels, gains: Numbers) -> tuple[Labels, Labels]:
    """Which rows there are, and for each the place of its largest gain, of equals the first; rows are in order."""
    if not len(rows):
        return rows, rows
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    most = np.repeat(np.maximum.reduceat(gains, starts), np.diff(starts, append=len(rows)))
    places = np.flatnonzero(gains == most)
    first, index = np.unique(rows[places], return_index=True)
    return first, places[index]


def _merged(
    graph: csr_matrix, left: Labels, right: Labels, number: int, resolution: float
) -> tuple[Labels, Labels]:
    """Communities that gain most by it, or lose least, are merged in pairs until ``number`` have rows."""
    total = graph.sum()
    while (excess := _number(left) - number) > 0:
        labels = np.unique(np.concatenate([left[left >= 0], right[right >= 0]]))
        left, right = (np.where(side < 0, -1, np.searchsorted(labels, side)) for side in (left, right))
        count = len(labels)
        edges = graph.tocoo()
        between = csr_matrix((edges.data, (left[edges.row], right[edges.col])), shape=(count, count))
        both = (between + between.T).tocsr()
        both.sort_indices()
        both = both.tocoo()
        apart = both.row != both.col
        rows, columns, weights = both.row[apart], both.col[apart], both.data[apart]
        ours, theirs = _degrees(graph, 1, left, count), _degrees(graph, 0, right, count)
        gains = weights - resolution / total * (ours[rows] * theirs[columns] + theirs[rows] * ours[columns])
        first, places = _largest(rows, gains)
        partner, gain = np.full(count, -1), np.full(count, -np.inf)
        partner[first], gain[first] = columns[places], gains[places]
        mutual = np.flatnonzero((partner >= 0) & (partner[partner] == np.arange(count)))
        mutual = mutual[mutual < partner[mutual]]
        has_rows = ours > 0
        if len(mutual):
            mutual = mutual[np.argsort(-gain[mutual], kind="stable")]
            fewer = np.cumsum(has_rows[mutual] & has_rows[partner[mutual]])
            mutual = mutual[: np.searchsorted(fewer, excess) + 1]
            pairs = mutual, partner[mutual]
        else:  # nothing is connected any more: the smallest go together
            smallest = np.flatnonzero(has_rows)
            smallest = smallest[np.argsort(ours[smallest], kind="stable")][: excess + 1]
            pairs = np.full(len(smallest) - 1, smallest[-1]), smallest[:-1]
        target = np.arange(count)
        target[pairs[1]] = pairs[0]
        left, right = (np.where(side < 0, -1, target[side]) for side in (left, right))
    return left, right
