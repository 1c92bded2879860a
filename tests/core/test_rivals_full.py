"""What makes each rival that trains full tables the method that it is; hooks of all rivals."""

import copy
import math

import pytest
import torch
from rival_run import WIDTHS, N, Run

from recbole_cel.options import SettingError
from recbole_cel.settings import CELSettings
from recbole_cel.strategies import FieldBudget, get_strategy


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


@pytest.mark.parametrize(("steps", "start", "times"), [(3, 0.0, 40), (10, 0.5, 7), (1, 2.0, 5)])
def test_pruning_takes_the_epochs_that_it_is_told_however_short_they_are(steps, start, times):
    run = Run("pruning", rows=6, start=start, epochs=6.0, times=times, steps=steps)
    settled = []
    for _ in range(9 * steps):
        run.step()
        settled.append(run.hook.settled)
    last = round((start + 6) * steps)
    assert settled == [step >= last for step in range(1, 9 * steps + 1)]
    assert len(run.events) == len({event.step for event in run.events}) == min(times, 6 * steps)
    assert all(event.step > start * steps for event in run.events)


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
    # Values, a byte for each column and count, and a pointer.
    assert run.strategy.storage().serving == 54 * (4 + 1) + 60 + 4


@pytest.mark.parametrize(("number", "which"), [(20, 20 + 60), (59, 59 + 60), (60, 2 * 60), (500, 2 * 60)])
def test_pruned_tables_say_by_columns_or_by_bits_which_numbers_are_kept(number, which):
    run = Run("pruning", rows=6)
    run.strategy.prune(number)
    storage = run.strategy.storage()
    assert (storage.rows, storage.codes) == (4 * number, which + 4)


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
