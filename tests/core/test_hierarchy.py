import pytest
import torch

from recbole_cel.clustering import hierarchy_penalty
from recbole_cel.clustering.hierarchy import super_clusters
from recbole_cel.embedding import ClusterAssignment, ClusteredEmbedding


def table_of(rows, entities=6, **options):
    table = ClusteredEmbedding(ClusterAssignment(entities, len(rows) + 1, len(rows)), len(rows[0]), **options)
    with torch.no_grad():
        table.weight[: len(rows)] = torch.tensor(rows)
        table.weight[-1] = 100.0  # no cluster yet
    return table


def test_the_pull_of_one_super_cluster_by_hand():
    table = table_of([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]])
    penalty = hierarchy_penalty(table, 1)
    assert penalty.item() == pytest.approx(2.0 + 2.0 + 4.0)  # the mean is (1, 1)
    penalty.backward()
    assert torch.allclose(table.weight.grad, torch.tensor([[-2.0, -2.0], [2.0, -2.0], [0.0, 4.0], [0.0, 0.0]]))


def test_the_pull_is_averaged_over_members_like_every_gradient():
    table = table_of([[0.0], [2.0]], entities=4 + 3, gradient_averaging=True)
    assert table.assignment.members.tolist() == [4, 3, 0]
    hierarchy_penalty(table, 1).backward()
    assert torch.allclose(table.weight.grad, torch.tensor([[-2.0 / 4], [2.0 / 3], [0.0]]))


def test_super_clusters_are_the_groups_of_near_rows():
    rows = torch.tensor([[0.0], [10.0], [1.0], [11.0], [30.0]])
    assert super_clusters(rows, 1).tolist() == [0, 0, 0, 0, 0]
    groups = super_clusters(rows, 3).tolist()
    assert groups[0] == groups[2] and groups[1] == groups[3] and len(set(groups)) == 3
    table = table_of(rows.tolist())
    assert hierarchy_penalty(table, 3).item() == pytest.approx(1.0)


def test_as_many_super_clusters_as_rows_pull_nothing():
    table = table_of([[0.0], [2.0], [5.0]])
    assert hierarchy_penalty(table, 3).item() == hierarchy_penalty(table, 50).item() == 0.0
    assert super_clusters(torch.ones(4, 2), 3).tolist() == [0, 0, 0, 0]


def test_gradient_is_that_of_the_sum_of_squares():
    """The centroids move with the rows; the finite difference knows, the penalty need not."""
    torch.manual_seed(0)
    table = table_of(torch.randn(5, 2).tolist(), entities=9)
    hierarchy_penalty(table, 2).backward()
    for row, column in ((0, 0), (3, 1)):
        values = []
        for step in (-1e-2, 2e-2):
            with torch.no_grad():
                table.weight[row, column] += step
            values.append(hierarchy_penalty(table, 2).item())
        with torch.no_grad():
            table.weight[row, column] -= 1e-2
        assert table.weight.grad[row, column].item() == pytest.approx((values[1] - values[0]) / 2e-2, abs=1e-3)
