"""What makes each rival that shares rows by the data the method that it is."""

import copy

import numpy as np
import pytest
import torch
from rival_run import N, Run
from scipy.sparse import csr_matrix

from recbole_cel.strategies.rivals.communities import communities, modularity
from recbole_cel.strategies.rivals.hashing import double_hashed, hashed
from recbole_cel.strategies.rivals.hot_sketch import HotSketch
from recbole_cel.strategies.rivals.k_means import k_means


def test_hashes_are_even_and_told_apart_by_the_salt():
    ids = torch.arange(100_000)
    counts = torch.bincount(hashed(ids, 0, 50))
    assert len(counts) == 50 and (counts - 2000).abs().max() < 250
    same = hashed(ids, 1, 50) == hashed(ids, 2, 50)
    assert same.float().mean() == pytest.approx(1 / 50, abs=0.003)


def test_the_most_active_ids_have_their_own_rows():
    ids = torch.cat([torch.full((10 - n,), 7 * n + 3) for n in range(8)])  # 3, 10, 17 ... ever less active
    run = Run("frequency_hash", ids=ids, others=torch.zeros_like(ids), functions=1)
    rows = run.strategy.own_rows(torch.arange(N))
    assert rows[[3, 10, 17, 24, 31, 38]].tolist() == list(range(6))
    others = [i for i in range(N) if i not in (3, 10, 17, 24, 31, 38)]
    assert set(rows[others].tolist()) == set(range(6, 12))
    assert torch.equal(run.rows(), torch.cat([table.weight[rows] for table in run.model], dim=1))


def test_ids_without_own_rows_add_up_two_by_double_hashing():
    run = Run("frequency_hash", rows=12, ids=torch.arange(6), others=torch.zeros(6).long())
    table, ids = run.model[0], torch.arange(6, N)
    places = 6 + double_hashed(ids, 6, 2)
    assert (places[:, 0] != places[:, 1]).all() and len(
        places.unique(dim=0)
    ) > 20  # of 30 pairs, where one tells six
    assert torch.allclose(table(ids), table.weight[places].sum(dim=1))
    assert torch.equal(table(torch.arange(6)), table.weight[:6])
    table(None).sum().backward()
    assert (table.weight.grad[:6] == 1).all() and table.weight.grad[6:].sum() == 8 * 2 * len(ids)
    # Sums start as rows do.
    wide = Run("frequency_hash", rows=40).strategy.table(2000, std=0.1, mean=0.3)(None).detach()
    assert wide[:20].std() == pytest.approx(0.1, rel=0.05) and wide[20:].std() == pytest.approx(0.1, rel=0.05)
    assert wide[20:].mean() == pytest.approx(0.3, rel=0.01)


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
            table.weight[0, columns.clusters.every[c], 4 * c : 4 * c + 4]
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


@pytest.mark.parametrize(("k", "wanted"), [(10, 2560), (500, 60_000), (1100, 70_400)])
def test_centres_are_found_by_many_rows_each(monkeypatch, k, wanted):
    seen = list[int]()
    monkeypatch.setattr(
        "recbole_cel.strategies.rivals.k_means._centres",
        lambda points, k, seed: seen.append(len(points)) or points[:k],
    )
    monkeypatch.setattr("recbole_cel.strategies.rivals.k_means.MANY_DISTANCES", 1100 * 70_400)
    k_means(lambda ids: ids.float().unsqueeze(1), 60_000 if k == 500 else 80_000, k, seed=1)
    assert seen == [wanted]


def test_many_centres_are_found_in_two_stages(monkeypatch):
    points = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    error = dict.fromkeys(("at once", "in two stages"), 0.0)
    for way, many in zip(error, (1 << 26, 1 << 13)):
        monkeypatch.setattr("recbole_cel.strategies.rivals.k_means.MANY_DISTANCES", many)
        for seed in range(8):
            centres, groups = k_means(lambda ids: points[ids], 500, 40, seed=seed)
            assert centres.shape == (40, 2) and len(groups.unique()) == 40
            error[way] += float((points - centres[groups]).square().sum())
    assert error["at once"] != error["in two stages"] < 1.3 * error["at once"]


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


def test_ids_have_the_buckets_of_anchors_with_a_like_history():
    # Anchors 0, 1 and 2 with items 0..9, 10..19 and 20..29; id 10 + n has two items of anchor n % 3.
    pairs = [(a, 10 * a + k) for a in range(3) for k in range(10)]
    pairs += [(10 + n, 10 * (n % 3) + k) for n in range(9) for k in (n, (n + 4) % 10)]
    ids, others = (torch.tensor(side) for side in zip(*pairs))
    run = Run("prehash", rows=3, ids=ids, others=others, buckets=2, directions=256)
    buckets = run.strategy.buckets
    best = buckets.weights(torch.arange(N)).argmax(0)
    codes = buckets.codes.every.gather(0, best.unsqueeze(0))[0]
    assert codes[10:19].tolist() == [n % 3 for n in range(9)] and codes[:3].tolist() == [0, 1, 2]
    weights = buckets.weights(torch.tensor([12]))[:, 0]
    assert weights.sum() == pytest.approx(1) and weights[0] >= weights[1]
    table = run.model[0]
    by_hand = weights @ table.weight[buckets.codes.every[:, 12]]
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
