"""Means, spreads, places and paired tests against scipy and values worked out by hand."""

import math

import pytest
from scipy import stats

from recbole_cel.tables import statistics as of


def test_the_paired_test_is_that_of_scipy_and_of_the_formula():
    ours, rival = [0.80, 0.79, 0.81, 0.80], [0.78, 0.78, 0.78, 0.79]
    differences = [a - b for a, b in zip(ours, rival)]
    mean = sum(differences) / 4
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / 3)
    by_hand = 2 * stats.t.sf(mean / (deviation / 2), 3)
    assert of.p_value(ours, rival) == pytest.approx(by_hand)
    assert of.p_value(ours, rival) == pytest.approx(stats.ttest_rel(ours, rival).pvalue)


@pytest.mark.parametrize(
    ("ours", "rival"), [([0.8], [0.7]), ([0.8, 0.9], [0.7, 0.8]), ([0.8, 0.9], [0.7]), ([], [])]
)
def test_what_a_paired_test_knows_nothing_of(ours, rival):
    assert of.p_value(ours, rival) is None


@pytest.mark.parametrize(
    ("p", "stars"), [(None, ""), (0.2, ""), (0.05, ""), (0.049, "*"), (0.01, "*"), (0.009, "**")]
)
def test_marks_of_a_p_value(p, stars):
    assert of.mark(p) == stars


def test_spread_is_the_standard_deviation_over_seeds():
    assert of.spread([1.0, 2.0, 3.0]) == pytest.approx(1.0)
    assert of.spread([1.0]) is None


def test_places_are_shared_by_what_looks_the_same():
    values = [0.80004, 0.79996, 0.7, None, 0.75]
    assert of.places(values, False, 4) == ({0, 1}, {4})
    assert of.places(values, True, 4) == ({2}, {4})
    assert of.places([None, 0.5], False, 4) == ({1}, set())


def test_ours_are_held_against_the_best_rival_only():
    best = [0.700, 0.710, 0.702]
    sure, unsure, below = [0.800, 0.8101, 0.8021], [0.701, 0.9, 0.61], [0.1, 0.11, 0.12]
    rows = [best, [0.1, 0.2, 0.3], sure, unsure, below, None]
    ours = [False, False, True, True, True, True]
    assert of.marks(rows, ours, False) == ["", "", "**", "", "", ""]


def test_a_rival_that_is_better_is_marked_as_well():
    assert of.marks([[0.9, 0.9101, 0.9202], [0.1, 0.11, 0.12]], [False, True], False) == ["**", ""]
    assert of.marks([[0.9, 0.9101, 0.9202], [0.1, 0.11, 0.12]], [False, True], True) == ["", "**"]


def test_where_all_are_alike_the_best_is_held_against_the_second():
    rows = [[0.1, 0.11, 0.12], [0.5, 0.5101, 0.5202], [0.4, 0.41, 0.42]]
    assert of.marks(rows, [False] * 3, False) == ["", "**", ""]
    assert of.marks([[0.1, 0.2]], [True], False) == [""]
    assert of.marks([None, None], [True, False], False) == ["", ""]
