import copy

import pytest
import torch

from recbole_cel.embedding import ClusterAssignment, ClusteredEmbedding, ModuloHashEmbedding
from recbole_cel.embedding.slots import record_slots


def make_clustered():
    return ClusteredEmbedding(ClusterAssignment(100, 8, initial_clusters=8), 5)


@pytest.mark.parametrize("make", [make_clustered, lambda: ModuloHashEmbedding(100, 5, 8)])
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4), (0,)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_takes_indices_of_any_shape(make, shape, dtype):
    table = make()
    ids = torch.randint(0, 100, shape, dtype=dtype)
    rows = table(ids)
    assert rows.shape == (*shape, 5)
    expected = torch.stack([table(i) for i in ids.reshape(-1)]) if ids.numel() else torch.zeros(0, 5)
    assert torch.equal(rows.reshape(-1, 5), expected.reshape(-1, 5))


@pytest.mark.parametrize(
    ("clusters", "dtype"),
    [
        (1, torch.uint8),
        (256, torch.uint8),
        (257, torch.int16),
        (2**15, torch.int16),
        (2**15 + 1, torch.int32),
    ],
)
def test_assignment_uses_the_smallest_type_that_fits(clusters, dtype):
    assignment = ClusterAssignment(10, clusters)
    assert assignment.clusters().dtype == assignment.dtype == dtype
    assignment.move(torch.tensor([3]), torch.tensor([clusters - 1]))
    assert assignment(torch.tensor(3)) == clusters - 1


def test_members_follow_moves_and_loading():
    assignment = ClusterAssignment(10, 4, initial_clusters=2)
    assert assignment.members.tolist() == [5, 5, 0, 0]
    assignment.move(torch.tensor([0, 1]), torch.tensor([3, 3]))
    assert assignment.members.tolist() == [4, 4, 0, 2]
    assert assignment.num_clusters == 3
    other = ClusterAssignment(10, 4)
    other.load_state_dict(assignment.state_dict())
    assert other.members.tolist() == [4, 4, 0, 2]


def test_bad_moves_and_bad_states_are_refused():
    assignment = ClusterAssignment(10, 4)
    with pytest.raises(ValueError, match=r"0\.\.3"):
        assignment.move(torch.tensor([0]), torch.tensor([4]))
    assert assignment.members.tolist() == [10, 0, 0, 0]
    codes = torch.zeros(1, 10, 1, dtype=torch.uint8)
    for bad, message in (
        (codes + 4, "has bits that belong to no level"),
        (codes.long(), r"type torch\.int64"),
        (codes[:, :9], r"shape \(1, 9, 1\), not \(1, 10, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            assignment.load_state_dict({"codes.words": bad})
    assert assignment.clusters().sum() == 0 and assignment.members.tolist() == [10, 0, 0, 0]


def test_provisional_clusters_are_put_back():
    assignment = ClusterAssignment(10, 4)
    with assignment.provisionally(torch.tensor([1, 2]), torch.tensor([3, 2])):
        assert assignment(torch.tensor([0, 1, 2])).tolist() == [0, 3, 2]
    assert assignment.clusters().sum() == 0


def test_shared_row_gets_the_sum_of_its_members_gradients_or_their_mean():
    for averaging in (False, True):
        table = ClusteredEmbedding(ClusterAssignment(6, 2, initial_clusters=2), 3, gradient_averaging=averaging)
        table(torch.tensor([0, 2, 4, 1])).sum().backward()
        divisor = 3 if averaging else 1
        assert torch.allclose(table.weight.grad, torch.tensor([[3.0], [1.0]]).expand(2, 3) / divisor)


def test_own_rows_start_at_the_cluster_and_train_only_once_started():
    table = ClusteredEmbedding(ClusterAssignment(6, 2), 3, personalisation=True)
    plain = table.weight[0].detach()
    assert torch.equal(table(torch.tensor([5]))[0], plain)
    table(torch.tensor([5])).sum().backward()
    assert table.personal.grad is None
    table.start_personalisation()
    table(torch.tensor([5])).sum().backward()
    assert table.personal.grad.abs().sum() == 3


def test_recording_gives_each_lookups_own_gradient():
    table = make_clustered()
    ids = torch.tensor([0, 8, 0])  # one row for all three
    with record_slots([table]) as slots:
        (table(ids) * torch.tensor([[1.0], [2.0], [3.0]])).sum().backward()
        make_clustered()(ids)  # another table is looked up as ever
    (slot,) = slots[table]
    assert slot.entities is ids and slot.rows.grad[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert table.weight.grad is None
    assert table(ids).requires_grad and table(ids).grad_fn is not None


def test_deepcopy_is_independent():
    table = make_clustered()
    twin = copy.deepcopy(table)
    twin.assignment.move(torch.tensor([0]), torch.tensor([5]))
    assert table.assignment(torch.tensor(0)) == 0


def test_no_tensor_of_the_size_of_a_full_table_is_made():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for one in out if isinstance(out, (list, tuple)) else [out]:
                if torch.is_tensor(one) and one.is_floating_point():
                    self.numbers = max(self.numbers, one.numel())
            return out

    users = 200_000
    with Largest() as largest:
        table = ClusteredEmbedding(ClusterAssignment(users, 16), 8)
        table(torch.arange(1000)).sum().backward()
    assert largest.numbers == 8000  # the lookup itself


def test_a_table_is_made_where_its_assignment_is():
    table = ClusteredEmbedding(ClusterAssignment(10, 4).to("meta"), 3, personalisation=True)
    assert table.weight.is_meta and table.personal.is_meta
