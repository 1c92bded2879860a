"""What makes each rival that needs the data, or acts while training, the method that it is."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import nn

from recbole_cel.clustering.event import no_progress
from recbole_cel.options import SettingError
from recbole_cel.settings import CELSettings
from recbole_cel.strategies import FieldBudget, Training, get_strategy
from recbole_cel.strategies.rivals.communities import communities, modularity
from recbole_cel.strategies.rivals.hashes_of_ids import hash_ids
from recbole_cel.strategies.rivals.hot_sketch import HotSketch
from recbole_cel.strategies.rivals.k_means import k_means

N, WIDTHS = 60, (8, 1)


class Run:
    """A strategy of one field in a small model, its data, its optimiser and its hook."""

    def __init__(self, name, rows=12, ids=None, others=None, steps=10, automatic=False, **options):
        torch.manual_seed(0)
        kind = get_strategy(name)
        budget = FieldBudget("user_id", N, WIDTHS, rows=rows, automatic=automatic)
        self.strategy = kind(budget, CELSettings(), kind.Options(**options))
        self.model = nn.ModuleList([self.strategy.table(width, std=0.1) for width in WIDTHS]).train()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.events = []
        pairs = (torch.arange(N) if ids is None else ids, torch.arange(N) % 7 if others is None else others)
        training = Training(
            lambda: None, self.optimiser, lambda field: pairs, steps, 5, self.events.append, no_progress
        )
        self.hook = kind.while_training({"user_id": self.strategy}, training)

    def step(self, number=1, ids=None, targets=None):
        for _ in range(number):
            rows = self.rows(torch.arange(N) if ids is None else ids)
            target = torch.randn(N, 9, generator=torch.Generator().manual_seed(0)) if targets is None else targets
            loss = (rows - target[: len(rows)]).square().sum(1).mean()
            penalty = self.strategy.penalty(N)
            self.optimiser.zero_grad()
            (loss if penalty is None else loss + penalty).backward()
            self.optimiser.step()
            if self.hook is not None:
                self.hook.step()

    def rows(self, ids=None):
        return torch.cat([table(ids) for table in self.model], dim=-1)

    def evaluated(self):
        self.model.eval()
        with torch.no_grad():
            found = self.rows()
        self.model.train()
        return found


def test_hashes_are_even_and_told_apart_by_the_salt():
    ids = torch.arange(100_000)
    counts = torch.bincount(hash_ids(ids, 0, 50))
    assert len(counts) == 50 and (counts - 2000).abs().max() < 250
    same = hash_ids(ids, 1, 50) == hash_ids(ids, 2, 50)
    assert same.float().mean() == pytest.approx(1 / 50, abs=0.003)


def test_the_most_active_ids_have_their_own_rows():
    ids = torch.cat([torch.full((10 - n,), 7 * n + 3) for n in range(8)])  # 3, 10, 17 ... ever less active
    run = Run("frequency_hash", ids=ids, others=torch.zeros_like(ids))
    rows = run.strategy.own_rows(torch.arange(N))
    assert rows[[3, 10, 17, 24, 31, 38]].tolist() == list(range(6))
    others = [i for i in range(N) if i not in (3, 10, 17, 24, 31, 38)]
    assert set(rows[others].tolist()) == set(range(6, 12))
    assert torch.equal(run.rows(), torch.cat([table.weight[rows] for table in run.model], dim=1))


def test_own_rows_of_a_file_are_checked():
    run = Run("frequency_hash")
    state = copy.deepcopy(run.model.state_dict())
    state["0.own_rows.ids"] = state["0.own_rows.ids"].flip(0)
    with pytest.raises(ValueError, match="not in their order"):
        run.model.load_state_dict(state)


def test_a_clustering_of_cce_changes_no_row_that_its_clusters_can_tell_apart():
    run = Run("cce", rows=24, columns=2, interval=1, clusterings=1)
    columns, table = run.strategy.columns, run.model[0]
    by_hand = torch.cat(
        [
            table.weight[0, columns.clusters.codes[c].long(), 4 * c : 4 * c + 4]
            + table.weight[1, columns.hashes(torch.arange(N))[c], 4 * c : 4 * c + 4]
            for c in range(2)
        ],
        dim=1,
    )
    assert torch.equal(table(None), by_hand)
    # Six kinds of ids, alike in everything, can be told apart by 12 clusters.
    targets = torch.randn(6, 9).repeat(10, 1)
    columns.clusters.put((torch.arange(N) % 6).repeat(2, 1))
    with torch.no_grad():
        for one in run.model:
            one.weight[1] = 0
    run.step(9, targets=targets)
    with torch.no_grad():
        for one in run.model:
            one.weight[1] = 0
    before, salts = run.rows().detach(), columns.salts.clone()
    run.hook.steps = 9
    run.hook.step()
    assert torch.allclose(run.rows(), before, atol=1e-6)
    assert not torch.equal(columns.salts, salts) and (run.model[0].weight[1] == 0).all()
    moments = run.optimiser.state[table.weight]
    assert (moments["exp_avg"] == 0).all() and (moments["exp_avg_sq"][:, 0] == moments["exp_avg_sq"][:, 1]).all()
    assert "user_id clustering at step 10" in str(run.events[0])


def test_k_means_by_hand():
    points = torch.tensor([[0.0], [0.1], [5.0], [5.2], [9.0]])
    centres, groups = k_means(lambda ids: points[ids], 5, 3, seed=1)
    assert sorted(round(float(c), 3) for c in centres) == [0.05, 5.1, 9.0]
    assert groups[0] == groups[1] and groups[2] == groups[3] and len(set(groups.tolist())) == 3


def test_many_centres_are_found_in_two_stages(monkeypatch):
    points = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    error = {}
    for way, many in (("at once", 1 << 26), ("in two stages", 1 << 13)):
        monkeypatch.setattr("recbole_cel.strategies.rivals.k_means.MANY_DISTANCES", many)
        centres, groups = k_means(lambda ids: points[ids], 500, 40, seed=1)
        assert centres.shape == (40, 2) and len(groups.unique()) == 40
        error[way] = float((points - centres[groups]).square().sum())
    assert error["at once"] != error["in two stages"] < 1.35 * error["at once"]


def planted(kinds, number=60):
    random = np.random.default_rng(0)
    kind = np.arange(number) % kinds
    return kind, csr_matrix(
        (random.random((number, 40)) < np.where(kind[:, None] == np.arange(40) % kinds, 0.8, 0.02)).astype(float)
    )


def test_communities_are_the_planted_ones_and_as_many_as_asked():
    kind, graph = planted(4)
    found = communities(graph, 4)
    assert all(len(set(found[kind == k])) == 1 for k in range(4)) and len(set(found)) == 4
    assert len(set(communities(graph, 2))) == 2 and len(set(communities(graph, 20))) <= 20
    assert len(set(communities(graph, 20))) > 10
    empty = csr_matrix(np.vstack([np.zeros((1, 40)), graph.toarray()]))
    assert communities(empty, 4)[0] == -1 and np.array_equal(communities(empty, 4)[1:], found)


def test_modularity_by_hand():
    graph = csr_matrix(np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]))
    # Four of five edges within the first community and one within the second.
    assert modularity(graph, np.array([0, 0, 1]), np.array([0, 0, 1])) == pytest.approx(1 - 16 / 25 - 1 / 25)


def test_ids_of_a_community_share_a_row():
    kind, graph = planted(4)
    ids, others = (torch.from_numpy(side.astype(np.int64)) for side in graph.nonzero())
    run = Run("graph_hash", rows=4, ids=ids, others=others)
    rows = run.rows()
    assert all((rows[kind == k] == rows[k]).all() for k in range(4)) and run.strategy.num_clusters == 4


def test_quantised_rows_are_the_nearest_codewords_straight_through():
    run = Run("product_quantisation", rows=5, parts=2, start=0.0, commitment=2.0)
    table = run.model[0]
    ids = torch.tensor([4, 9, 4])
    for part, width in enumerate((slice(0, 4), slice(4, 8))):
        nearest = torch.cdist(table.own[ids, width], table.weight[:, width]).argmin(1)
        assert torch.equal(table(ids)[:, width], table.weight[nearest, width])
        assert torch.equal(table.codes(ids)[part], nearest)
    rows = table(ids)
    assert float(run.strategy.penalty(1).detach()) == pytest.approx(
        2 * float((table.own[ids] - rows).detach().square().sum(1).mean())
    )
    table(ids).sum().backward()
    assert (table.own.grad[4] == 2).all() and table.weight.grad.sum() == 24


def test_quantised_tables_are_served_from_codewords_and_bits():
    run = Run("product_quantisation", rows=5, parts=2, start=0.0)
    # 60 ids, three parts in all (two of 8, one of 1), three bits each.
    storage = run.strategy.storage()
    assert (storage.rows, storage.codes) == (4 * 5 * 9, math.ceil(60 * 3 * 3 / 8))
    table, ids = run.model[0].eval(), torch.arange(N)
    words = table.weight.split(4, dim=1)
    from_codes = torch.cat([one[code] for one, code in zip(words, table.codes(ids))], dim=1)
    assert torch.equal(from_codes, table(None))


def test_rare_ids_see_the_first_codewords_only():
    ids = torch.arange(N).repeat(3)[30:]  # ids below 30 are less active
    run = Run("product_quantisation", 16, ids, ids % 7, start=0.0, rare_share=0.5, rare_codewords=4)
    codes = run.model[0].codes(torch.arange(N))
    assert codes[:, :30].max() < 4 <= codes[:, 30:].max()
    # Five parts of two or four bits, and one that says which.
    assert run.strategy.storage().codes == math.ceil((30 * 5 * 2 + 30 * 5 * 4 + 60) / 8)


def test_rows_are_own_ones_until_k_means_gives_codewords():
    run = Run("product_quantisation", rows=30, steps=4)
    assert not run.hook.settled and torch.equal(run.rows(), torch.cat([t.own for t in run.model], dim=1))
    run.step(4)
    assert run.hook.settled and run.model[0].quantised and run.events[0].numbers["relative error"] < 0.5


def test_pruning_keeps_the_largest_numbers_on_a_cubic_schedule():
    run = Run("pruning", rows=6, epochs=1.0, times=5, steps=10)
    full, final = 540, 54
    for act in range(1, 6):
        run.step(2)
        assert int(run.strategy.num_kept) == round(final + (full - final) * (1 - act / 5) ** 3)
        assert run.hook.settled == (act == 5)
    kept = torch.cat([table.kept for table in run.model], dim=1)
    assert int((run.evaluated() != 0).sum()) == 54 and (run.evaluated()[~kept] == 0).all()
    table = run.model[0]
    assert (run.optimiser.state[table.weight]["exp_avg"][~table.kept] == 0).all()
    before = table.kept.clone()
    run.step(5)
    assert torch.equal(table.kept, before) and (table.weight[~before] == 0).all()
    # Values, one byte for a column, and pointers.
    assert run.strategy.storage().serving == 54 * 5 + 61 * 4


def test_the_largest_of_all_tables_are_kept():
    run = Run("pruning", rows=6)
    values = torch.cat([table.weight.detach().abs().flatten() for table in run.model])
    run.strategy.prune(100)
    kept = torch.cat([table.kept.flatten() for table in run.model])
    assert values[kept].min() >= values[~kept].max() and kept.sum() == 100


@pytest.mark.parametrize("name", ["pruning", "jnkm", "etree", "product_quantisation"])
def test_training_bytes_below_those_of_full_tables_are_refused(name):
    with pytest.raises(SettingError, match="bytes in training to field user_id, whose tables need"):
        get_strategy(name)(FieldBudget("user_id", N, WIDTHS, training_bytes=12 * N * 9 - 1), CELSettings())


def test_the_sketch_keeps_those_with_large_scores():
    sketch = HotSketch(100, 1)
    sketch.add(torch.tensor([1, 2, 3, 4]), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    sketch.add(torch.tensor([2, 9]), torch.tensor([5.0, 0.5]))  # 9 takes the place of 1, and its score
    found = dict(zip(sketch.ids.flatten().tolist(), sketch.scores.flatten().tolist()))
    assert found == {2: 7.0, 3: 3.0, 4: 4.0, 9: 1.5}
    assert sketch.hottest(2).tolist() == [2, 4]


def test_a_sketch_with_room_counts_exactly():
    sketch, exact = HotSketch(200, 2000), torch.zeros(200)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        ids = torch.randperm(200, generator=generator)[:50]
        scores = torch.rand(50, generator=generator)
        sketch.add(ids, scores)
        exact[ids] += scores
    assert sketch.hottest(20).tolist() == exact.argsort(descending=True)[:20].tolist()


def test_rows_follow_the_ids_that_matter():
    run = Run("cafe", interval=0.5, steps=10)
    first, then = torch.tensor([50, 1, 8, 30, 31, 32]), torch.tensor([0, 1, 8, 55, 57, 58])
    run.step(4, first)
    rows = run.rows().detach()
    moments = run.optimiser.state[run.model[0].weight]["exp_avg"][run.strategy.own_rows(torch.arange(N))]
    run.strategy.sketch.add(*run.model[0].take()) if run.model[0].seen else None
    run.hook.steps = 4
    run.hook.step()
    assert run.strategy.own_rows.known.tolist() == sorted(first.tolist())
    assert torch.equal(run.rows(), rows)  # each own row starts as the shared one
    after = run.optimiser.state[run.model[0].weight]["exp_avg"][run.strategy.own_rows(torch.arange(N))]
    assert torch.equal(after, moments)
    run.step(15, then)
    assert run.strategy.own_rows.known.tolist() == sorted(then.tolist())


def test_rows_are_drawn_to_the_means_of_their_clusters():
    run = Run("jnkm", rows=3, pull=2.0)
    table, codes = run.model[0], torch.arange(N) % 3
    run.strategy.codes.put(codes.unsqueeze(0))
    run.strategy.clustered = True
    weight = table.weight.detach()
    centres = torch.stack([weight[codes == k].mean(0) for k in range(3)])
    expected = sum(
        float((w - torch.stack([w[codes == k].mean(0) for k in range(3)])[codes]).square().sum())
        for w in (one.weight.detach() for one in run.model)
    )
    assert float(run.strategy.penalty(10).detach()) == pytest.approx(2 * expected / 10, rel=1e-5)
    run.strategy.penalty(10).backward()
    assert torch.allclose(table.weight.grad, 0.4 * (weight - centres[codes]), atol=1e-6)
    assert torch.allclose(run.evaluated()[:, :8], centres[codes])  # under a budget centres are served
    assert torch.equal(table(None), table.weight)  # in training own rows are


def test_leaves_are_drawn_to_their_roots():
    run = Run("etree", rows=4)
    codes, roots = torch.arange(N) % 4, torch.tensor([0, 0, 1, 1])
    run.strategy.codes.put(codes.unsqueeze(0))
    run.strategy.roots.put(roots.unsqueeze(0))
    weight = run.model[0].weight.detach()
    means = torch.stack([weight[codes == k].mean(0) for k in range(4)])
    of_roots = torch.stack([means[:2].mean(0), means[2:].mean(0)])
    leaves = (15 * means + of_roots[roots]) / 16
    assert torch.allclose(run.evaluated()[:, :8], leaves[codes], atol=1e-6)

    # No other leaf is nearer to all: distances grow if it is moved.
    def distances(at):
        return (weight - at[codes]).square().sum() + (at - of_roots[roots]).square().sum()

    assert distances(leaves) < min(distances(leaves + 1e-2), distances(leaves - 1e-2), distances(means))
    assert float(run.model[0].distances()) == pytest.approx(float(distances(leaves)), rel=1e-5)


@pytest.mark.parametrize("name", ["jnkm", "etree"])
def test_without_a_budget_own_rows_are_served(name):
    run = Run(name, rows=4, automatic=True)
    run.step(10)
    assert torch.equal(run.evaluated(), torch.cat([table.weight for table in run.model], dim=1))
    assert run.strategy.storage().serving == 4 * N * 9 and run.hook.settled
    limited = Run(name, rows=4)
    assert not limited.hook.settled
    limited.step(10)
    assert limited.hook.settled and len(limited.evaluated().unique(dim=0)) <= 4


def test_ids_have_the_buckets_of_anchors_with_a_like_history():
    # Anchors 0, 1 and 2 with items 0..9, 10..19 and 20..29; id 10 + n has two items of anchor n % 3.
    pairs = [(a, 10 * a + k) for a in range(3) for k in range(10)]
    pairs += [(10 + n, 10 * (n % 3) + k) for n in range(9) for k in (n, (n + 4) % 10)]
    ids, others = (torch.tensor(side) for side in zip(*pairs))
    run = Run("prehash", rows=3, ids=ids, others=others, buckets=2, directions=256)
    buckets = run.strategy.buckets
    best = buckets.weights.argmax(0)
    codes = buckets.codes.codes.gather(0, best.unsqueeze(0))[0]
    assert codes[10:19].tolist() == [n % 3 for n in range(9)] and codes[:3].tolist() == [0, 1, 2]
    weights = buckets.weights[:, 12].float() / buckets.weights[:, 12].sum()
    table = run.model[0]
    by_hand = weights @ table.weight[buckets.codes.codes[:, 12].long()]
    assert torch.allclose(table(torch.tensor([12]))[0], by_hand, atol=1e-6)


def test_bits_are_signs_of_what_the_graph_says():
    kind, graph = planted(2)
    ids, others = (torch.from_numpy(side.astype(np.int64)) for side in graph.nonzero())
    run = Run("hashgnn", rows=16, ids=ids, others=others, groups=8)
    codes = run.strategy.bits(torch.arange(N)).T
    assert codes.shape == (8, N) and codes.max() == 1
    alike = (codes[:, :, None] == codes[:, None, :]).float().mean(0)
    same = torch.from_numpy(kind[:, None] == kind[None])
    assert alike[same].mean() > alike[~same].mean() + 0.2
    assert (codes.float().mean(1) - 0.5).abs().max() < 0.05  # each bit halves the ids
    table = run.model[0]
    by_hand = sum(table.weight[2 * group + codes[group]] for group in range(8))
    assert torch.allclose(table(None), by_hand, atol=1e-6)


@pytest.mark.parametrize("name", ["cce", "cafe", "pruning", "product_quantisation", "jnkm", "etree"])
def test_a_hook_goes_on_from_its_state(name):
    whole, half, resumed = (Run(name, rows=12, steps=4) for _ in range(3))
    whole.step(22)
    half.step(9)
    resumed.model.load_state_dict(half.model.state_dict())
    resumed.optimiser.load_state_dict(copy.deepcopy(half.optimiser.state_dict()))
    resumed.hook.load_state_dict(half.hook.state_dict())
    resumed.step(13)
    assert (
        torch.equal(whole.evaluated(), resumed.evaluated())
        and whole.events[-1:] == (half.events + resumed.events)[-1:]
    )
    for bad in ({}, {"steps": -1}, {"steps": 1.0}, {"steps": 1, "more": 2}):
        with pytest.raises((ValueError, KeyError)):
            resumed.hook.load_state_dict(bad)


@pytest.mark.parametrize("name", ["cce", "cafe", "pruning", "product_quantisation", "jnkm", "etree"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e38])
def test_training_that_diverges_is_not_stopped_by_a_hook(name, value):
    run = Run(name, rows=12, steps=4)
    run.step(3)
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter[::2] = value
    run.step(1)
    assert run.events or name == "pruning"


def test_intervals_longer_than_any_run():
    run = Run("cce", interval=1e308)
    run.step(3)
    assert not run.events
