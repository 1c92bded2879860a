"""Joint splits of pairs of fields."""

import pytest
import torch
from reference.directions import reference_agreement, reference_signs
from torch import nn

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.clustering.joint import directions
from recbole_cel.clustering.joint.directions import find_directions
from recbole_cel.clustering.joint.finder import PairSplitter
from recbole_cel.clustering.joint.residuals import residuals
from recbole_cel.clustering.joint.sensitivity import sensitivity
from recbole_cel.clustering.joint.singular import Interactions, _orthonormalise, singular_pairs
from recbole_cel.embedding import AdditiveEmbedding, ClusterAssignment, ClusteredEmbedding
from recbole_cel.evidence import ModuleObjective, squared_error
from recbole_cel.experiments.pairs import Pairs, plant_groups, plant_parity, plant_ratings, plant_three_fields


class Products(nn.Module):
    """Sum of the inner products of all pairs of fields, and biases; or the biases alone."""

    def __init__(self, sizes, dim=6, levels=4, clusters=4, folds=4, products=True, network=False):
        super().__init__()
        self.products = products
        self.rows, self.biases = nn.ModuleList(), nn.ModuleList()
        for size in sizes:
            of_field = [ClusterAssignment(size, clusters, folds=folds) for _ in range(levels)]
            for tables, width in ((self.rows, dim), (self.biases, 1)):
                tables.append(
                    AdditiveEmbedding(
                        [ClusteredEmbedding(m, width, std=0.0 if n else 0.05) for n, m in enumerate(of_field)]
                    )
                )
        self.network = (
            nn.Sequential(nn.Linear(len(sizes) * dim, 16), nn.ReLU(), nn.Linear(16, 1)) if network else None
        )

    def forward(self, *ids):
        rows = [table(of_field) for table, of_field in zip(self.rows, ids)]
        outputs = sum(table(of_field).squeeze(1) for table, of_field in zip(self.biases, ids))
        if self.network is not None:
            return outputs + self.network(torch.cat(rows, dim=1)).squeeze(1)
        if not self.products:
            return outputs
        total = sum(rows)
        return outputs + (total.square() - sum(one.square() for one in rows)).sum(dim=1) / 2


class Case:
    """A model on planted data."""

    def __init__(self, pairs, sizes, loss=None, **options):
        torch.manual_seed(0)
        self.model = Products(sizes, **options)
        self.names = ["context", "user", "item"][-len(sizes) :]
        loss = {} if loss is None else {"loss": loss}
        self.objective = ModuleObjective(self.model, self.names, pairs.ids, pairs.targets, **loss)
        self.tables = {
            name: [rows, biases] for name, rows, biases in zip(self.names, self.model.rows, self.model.biases)
        }

    def optimiser(self, **options):
        settings = ClusterSettings(folds=options.pop("folds", 4), **options.pop("settings", {}))
        return ClusterOptimiser(self.tables, self.objective, settings, steps_per_epoch=100, **options)

    def levels(self):
        return self.optimiser().fields


def groups(seed=0, odds=2.0, **options):
    pairs = plant_groups(200, 120, 8000, 4, torch.Generator().manual_seed(seed), odds=odds, **options)
    return pairs, (200, 120)


def residuals_of(case, pairs, sizes, folds):
    numbers = torch.arange(len(pairs.targets))
    with torch.no_grad():
        outputs = case.objective.outputs(numbers)

    def without(fold):
        told = torch.ones(len(numbers)) if fold is None else (folds != fold).float()
        return residuals(case.objective, outputs, numbers, list(zip(pairs.ids, sizes)), told)

    return without


def test_singular_pairs_are_those_of_the_dense_matrix():
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.randint(0, 60, (900,), generator=generator),
        torch.randint(0, 40, (900,), generator=generator),
    )
    values = torch.randn(900, generator=generator)
    strong = torch.linspace(-1, 1, 60)[left] * torch.linspace(-1, 1, 40)[right]
    values += 4 * strong
    dense = torch.zeros(60, 40).index_put_((left, right), values, accumulate=True)
    found = singular_pairs(*Interactions(left, right, (60, 40)).with_values(values), 3, generator)
    one, expected, other = torch.linalg.svd(dense)
    assert torch.allclose(found.values, expected[:3], rtol=1e-2)
    assert abs(float(found.left[:, 0] @ one[:, 0])) > 0.999
    assert float(found.left[:, 0] @ one[:, 0]) * float(found.right[:, 0] @ other[0]) > 0.99
    assert torch.allclose(found.left.T @ found.left, torch.eye(3), atol=1e-4)


@pytest.mark.parametrize("rank", [5, 2])
def test_columns_are_made_orthonormal_in_place(rank):
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(200, rank, generator=generator) @ torch.randn(rank, 5, generator=generator)
    block = before * torch.logspace(0, 3, 5)
    wanted = block.clone()
    factor = _orthonormalise(block)
    assert torch.allclose(block.double() @ factor, wanted.double(), rtol=1e-4, atol=1e-3)
    lengths = torch.linalg.eigvalsh(block.T @ block)
    assert torch.allclose(lengths, (torch.arange(5) >= 5 - rank).float(), atol=1e-4)
    assert torch.allclose(torch.linalg.svdvals(factor).float(), torch.linalg.svdvals(wanted), rtol=1e-3, atol=1e-2)


def test_a_matrix_of_low_rank_has_as_many_pairs():
    left, right = torch.arange(12) // 4, torch.arange(12) % 4
    values = torch.ones(12)
    found = singular_pairs(*Interactions(left, right, (3, 4)).with_values(values), 8, torch.Generator())
    assert found.values.tolist() == pytest.approx([12**0.5])


def test_directions_agree_with_the_reference():
    pairs, sizes = groups()
    case = Case(pairs, sizes)
    folds = case.objective.folds(3)
    arguments = (*pairs.ids, sizes, folds, 3, residuals_of(case, pairs, sizes, folds))
    found = find_directions(*arguments, seed=0)
    assert found.left.shape == (200, 4, 2) and len(found.agreement) == 3
    assert found.agreement[:2] == pytest.approx(reference_agreement(*arguments, 2), rel=0.02)
    # Two directions of one strength may be turned any way, so their signs are alike only up to a turn.
    for signs, expected in zip((found.left, found.right), reference_signs(*arguments, 2)):
        own, others = (part[:, -1].double() * 2 - 1 for part in (signs, expected))
        same = own.T @ others / len(own)
        assert float(torch.linalg.matrix_norm(same, 2)) > 0.7


def test_what_is_left_out_has_no_say_in_the_codes_without_it(monkeypatch):
    monkeypatch.setattr(directions, "MAX_DIRECTIONS", 1)  # so that there is no turn but a change of sign
    monkeypatch.setattr(directions, "MIN_AGREEMENT", -1e6)
    monkeypatch.setattr(directions, "MIN_FIRST_AGREEMENT", -1e6)
    pairs, sizes = groups()
    found = []
    for flipped in (False, True):
        case = Case(pairs, sizes)
        folds = case.objective.folds(4)
        targets = torch.where((folds == 2) & flipped, 1 - pairs.targets, pairs.targets)
        case = Case(pairs._replace(targets=targets), sizes)
        found.append(find_directions(*pairs.ids, sizes, folds, 4, residuals_of(case, pairs, sizes, folds), 0))
    assert len(found[1].effect) == 1
    without, others = ([torch.cat([one.left, one.right])[:, fold, 0] for one in found] for fold in (2, 0))
    assert torch.equal(*without) or torch.equal(without[0], ~without[1])
    assert not torch.equal(*others) and not torch.equal(others[0], ~others[1])


def test_residuals_hold_no_main_effects():
    pairs, sizes = groups(odds=0.0, main_effects=1.5)
    case = Case(pairs, sizes)
    numbers = torch.arange(8000)
    outputs = torch.zeros(8000)
    found = residuals(case.objective, outputs, numbers, list(zip(pairs.ids, sizes)), torch.ones(8000))
    before = pairs.targets - 0.5
    for ids, size in zip(pairs.ids, sizes):
        sums = [torch.bincount(ids, values, size).square().mean() for values in (before, found.residual)]
        assert float(sums[1]) < 0.05 * float(sums[0])
    assert float(found.curvature.min()) > 0


@pytest.mark.parametrize("folds", [4, 1])
@pytest.mark.parametrize("network", [False, True])
def test_groups_without_main_effects_are_found(folds, network):
    pairs, sizes = groups()
    case = Case(pairs, sizes, folds=folds, network=network)
    (event,) = case.optimiser(folds=folds).split_jointly()
    assert event.directions == 2 and event.kind == "joint split" and event.field == "user x item"
    assert min(event.agreement[:2]) > 10 > 3 > event.agreement[2]
    assert event.clusters_after == event.clusters_before + 4
    assert "2 directions" in str(event)
    for name, planted in zip(("user", "item"), pairs.groups):
        codes = torch.stack([level[0].assignment.clusters() for level in case.levels()[name]], dim=1)
        found = codes.unique(dim=0, return_inverse=True)[1]
        table = torch.zeros(4, int(found.max()) + 1).index_put_((planted, found), torch.ones(len(planted)), True)
        assert float(table.amax(dim=1).sum()) > 0.9 * len(planted)
    if not network:
        with torch.no_grad():
            outputs = case.objective.outputs(torch.arange(8000))
        agrees = (outputs > 0) == (pairs.targets > 0.5)
        assert float(agrees.float().mean()) > 0.83  # of .88 if all are known


def test_entities_on_the_wrong_side_move_before_levels_grow():
    pairs, sizes = groups()
    case = Case(pairs, sizes)
    optimiser = case.optimiser()
    optimiser.split_jointly()
    for name in ("user", "item"):
        optimiser.split(name)
    for name, planted in zip(("user", "item"), pairs.groups):
        codes = torch.stack([level[0].assignment.clusters() for level in case.levels()[name]], dim=1)
        found = codes.unique(dim=0, return_inverse=True)[1]
        table = torch.zeros(4, int(found.max()) + 1).index_put_((planted, found), torch.ones(len(planted)), True)
        assert float(table.amax(dim=1).sum()) > 0.93 * len(planted)


def test_rows_move_as_far_as_the_labels_ask_for_and_keep_the_state_of_their_parents():
    pairs, sizes = groups()
    case = Case(pairs, sizes)
    adam = torch.optim.Adam(case.model.parameters())
    numbers = torch.arange(8000)
    case.objective.loss(case.objective.training_outputs(*pairs.ids), pairs.targets).mean().backward()
    adam.step()
    before = float(case.objective.loss(case.objective.outputs(numbers), pairs.targets).mean())
    case.optimiser(optimiser=adam).split_jointly()
    after = float(case.objective.loss(case.objective.outputs(numbers), pairs.targets).mean())
    assert after < before - 0.15
    first = case.model.rows[0].levels[0]
    moments = adam.state[first.weight]["exp_avg"]
    alive = first.assignment.occupied.nonzero().squeeze(1)
    assert len(alive) == 2 and torch.equal(moments[alive[0]], moments[alive[1]])


def test_labels_at_random_have_no_direction():
    kept = 0
    for seed in range(20):
        pairs, sizes = groups(seed, odds=0.0)
        (event,) = Case(pairs, sizes).optimiser(seed=seed).split_jointly()
        kept += event.directions > 0
        assert event.moved == 0 or event.directions
    assert kept <= 1


def test_ids_with_one_interaction_each_have_no_direction():
    kept = 0
    for seed in range(20):
        labels = torch.bernoulli(torch.full((300,), 0.5), generator=torch.Generator().manual_seed(seed))
        pairs = Pairs((torch.arange(300), torch.arange(300)), labels, ())
        (event,) = Case(pairs, (300, 300)).optimiser(seed=seed).split_jointly()
        kept += event.directions > 0
    assert kept <= 1


def test_of_three_fields_the_two_that_interact_are_split():
    pairs = plant_three_fields((50, 200, 120), 8000, torch.Generator().manual_seed(0))
    case = Case(pairs, (50, 200, 120))
    found = {event.field: event.directions for event in case.optimiser().split_jointly()}
    assert found == {"context x user": 0, "context x item": 0, "user x item": 2}


def test_ratings_without_main_effects():
    pairs = plant_ratings(200, 120, 8000, 4, torch.Generator().manual_seed(0))
    case = Case(pairs, (200, 120), loss=squared_error)
    (event,) = case.optimiser().split_jointly()
    assert event.directions == 2
    with torch.no_grad():
        outputs = case.objective.outputs(torch.arange(8000))
    assert float(torch.corrcoef(torch.stack([outputs, pairs.targets]))[0, 1]) > 0.5


def test_parity_on_tiny_data():
    pairs = plant_parity(22, 18, 331, torch.Generator().manual_seed(0))
    case = Case(pairs, (22, 18))
    (event,) = case.optimiser().split_jointly()
    assert event.directions == 1
    with torch.no_grad():
        outputs = case.objective.outputs(torch.arange(331))
    assert bool(((outputs > 0) == (pairs.targets > 0.5)).all())


def test_a_model_that_sees_no_pairs_is_left_alone():
    pairs, sizes = groups()
    case = Case(pairs, sizes, products=False)
    (event,) = case.optimiser().split_jointly()
    assert event.directions == 0 and event.agreement[0] > 10
    assert event.clusters_after == event.clusters_before


def test_ids_without_interactions_are_where_most_are():
    pairs, sizes = groups()
    some = torch.randperm(len(pairs.targets), generator=torch.Generator().manual_seed(0))[:6000]
    # Users of the second half of the groups are rare: of each group of them, one in four is left.
    users = pairs.ids[0]
    kept = some[(pairs.groups[0][users[some]] < 2) | (users[some] % 4 == 0)]
    fewer = Pairs(tuple(ids[kept] for ids in pairs.ids), pairs.targets[kept], pairs.groups)
    case = Case(fewer, (sizes[0] + 30, sizes[1]))
    (event,) = case.optimiser().split_jointly()
    assert event.directions >= 1
    known = torch.bincount(fewer.ids[0], minlength=sizes[0] + 30) > 0
    for level in case.levels()["user"]:
        codes = level[0].assignment.views(torch.arange(len(known)))
        largest = codes[known, -1].bincount().argmax()
        assert (codes[~known] == largest).all()


def test_sensitivity_of_products_is_the_identity():
    pairs, sizes = groups()
    case = Case(pairs, sizes, dim=5)
    levels = case.levels()
    seen = sensitivity(case.objective, levels["user"], levels["item"], torch.arange(100), torch.Generator())
    assert seen.strength.tolist() == pytest.approx([1.0] * 5, abs=0.02)
    assert float(seen.left[-1].abs().max()) < 1e-3  # of the bias
    rows = [levels["user"][0][0].weight.clone() for _ in range(2)]
    assert torch.equal(*rows)


def test_no_more_rows_than_there_may_be_and_no_more_splits_than_asked_for():
    pairs, sizes = groups()
    one_level = Case(pairs, sizes, levels=1, clusters=3)
    (event,) = one_level.optimiser().split_jointly()
    assert event.directions == 1 and event.clusters_after == 4
    limited = Case(pairs, sizes, levels=1, clusters=8)
    (event,) = limited.optimiser(settings={"split_count": 1}).split_jointly()
    assert event.clusters_after == 4
    full = Case(pairs, sizes, levels=1, clusters=1)
    assert PairSplitter(full.objective, full.levels(), 0).split_all() == []


def test_the_same_seed_gives_the_same_split():
    pairs, sizes = groups()
    states = []
    for _ in range(2):
        case = Case(pairs, sizes)
        case.optimiser(seed=3).split_jointly()
        states.append(case.model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_weights_count_interactions_several_times():
    pairs, sizes = groups()
    twice = Pairs(tuple(ids.repeat(2) for ids in pairs.ids), pairs.targets.repeat(2), pairs.groups)
    once, again = Case(pairs, sizes), Case(twice, sizes)
    again.objective = ModuleObjective(
        again.model, again.names, twice.ids, twice.targets, weights=torch.full((16_000,), 0.5)
    )
    (one,), (two,) = once.optimiser().split_jointly(), again.optimiser().split_jointly()
    assert two.agreement[:2] == pytest.approx([test * 2**0.5 for test in one.agreement[:2]], rel=0.02)
    for name in ("user", "item"):
        pair = [case.optimiser().reassign(name) for case in (once, again)]
        assert pair[0].loss_before == pytest.approx(pair[1].loss_before, rel=2e-2)
        assert pair[0].loss_after == pytest.approx(pair[1].loss_after, rel=2e-2)
