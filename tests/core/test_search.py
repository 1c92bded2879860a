"""The search for better codes: it is by chance, but what an entity tries depends on the entity alone."""

import pytest
import torch
from twins import reassign_both, twins

from recbole_cel.clustering.cross_fitted import search
from recbole_cel.clustering.cross_fitted.choosing import Choosing
from recbole_cel.clustering.cross_fitted.search import CHANGES, MAX_SEARCHED, Chance


@pytest.fixture
def searched(monkeypatch):
    """Losses of all points before and after each search."""
    found, search = [], Choosing._search

    def look(self, views, choices, some):
        before = self._losses(views, choices)
        search(self, views, choices, some)
        found.append((before, self._losses(views, choices)))

    monkeypatch.setattr(Choosing, "_search", look)
    return found


@pytest.mark.parametrize("entropy", [0.0, 0.5])
def test_more_search_finds_better_codes(entropy, searched):
    gains = []
    for number in (0, 2, 20):
        for seed in range(4):
            reassign_both(twins(seed, 3, start=3), reassign_search=number, reassign_entropy=entropy)
        assert len(searched) == 4 and all(bool((after <= before).all()) for before, after in searched)
        gains.append(sum(float((before - after).sum()) for before, after in searched))
        searched.clear()
    assert 0 == gains[0] < gains[1] < gains[2]


def test_a_single_level_is_chosen_at_its_best_at_once(searched):
    reassign_both(twins(0, 1, start=3), reassign_search=20)
    assert all(map(torch.equal, *zip(*searched)))


def test_what_is_tried_depends_on_the_entity_the_event_and_the_round_alone():
    keys, generator = torch.arange(1000), torch.Generator().manual_seed(0)
    clusters = [torch.arange(5), torch.tensor([2]), torch.tensor([0, 3, 4])]
    choices = [some[torch.randint(len(some), (1000,), generator=generator)] for some in clusters]
    chance = Chance(7, 4)
    tried = chance.changed(choices, keys, clusters, 0)
    part = chance.changed([choice[300:400] for choice in choices], keys[300:400], clusters, 0)
    assert all(torch.equal(whole[300:400], some) for whole, some in zip(tried, part))
    others = [Chance(8, 4).changed(choices, keys, clusters, 0), chance.changed(choices, keys, clusters, 1)]
    for other in others:
        assert not all(map(torch.equal, tried, other))
    # Levels of several clusters change, to any of these.
    assert torch.equal(tried[1], choices[1])
    for level in (0, 2):
        assert set(tried[level].tolist()) == set(clusters[level].tolist())
        assert 0.3 < float((tried[level] != choices[level]).float().mean()) < 1
    assert CHANGES == 3


def test_changes_and_rounds_do_not_depend_on_each_other(monkeypatch):
    """Of eight levels, all pairs of a first and a second change are as common, and of changes in two rounds."""
    keys, clusters = torch.arange(20_000), [torch.arange(4)] * 8
    nothing = [torch.full((len(keys),), -1)] * 8
    monkeypatch.setattr(search, "CHANGES", 1)

    def level(number):
        return torch.stack(Chance(7, 9).changed(nothing, keys, clusters, number)).argmax(dim=0)

    for one, other in ((0, 1), (0, 2), (1, 2), (0, 8)):
        pairs = torch.bincount(level(one) * 8 + level(other), minlength=64).float()
        assert float(((pairs - len(keys) / 64) ** 2).sum() / (len(keys) / 64)) < 120  # 63 on average


@pytest.mark.parametrize(("entities", "rounds"), [(0, 8), (100, 8), (MAX_SEARCHED // 4, 4), (MAX_SEARCHED + 1, 0)])
def test_many_entities_look_less_often(entities, rounds):
    assert Chance.of(1, 8, entities).rounds == rounds
