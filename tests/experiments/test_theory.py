import pytest
import torch

from recbole_cel.embedding import levels_of
from recbole_cel.experiments import saddle, theory
from recbole_cel.experiments.factorisation import Factorisation
from recbole_cel.experiments.planted import factor_errors, local_minima, plant, rand_index


def test_the_truth_itself_is_found_up_to_order_and_scale():
    truth = plant(50, 30, 3, 5, torch.Generator().manual_seed(0))
    model = Factorisation(50, 30, 3, 5)
    (level,) = levels_of(model.items)
    order, scale, names = torch.tensor([2, 0, 1]), torch.tensor([2.0, 0.5, 1.0]), torch.tensor([4, 2, 0, 1, 3])
    level.assignment.move(torch.arange(30), names[truth.clusters])
    with torch.no_grad():
        model.users.weight.copy_((truth.users * scale)[:, order])
        level.weight[names] = (truth.rows / scale)[:, order]
    assert rand_index(truth, model) == 1.0
    assert factor_errors(truth, model) == pytest.approx((0.0, 0.0), abs=1e-6)
    with torch.no_grad():
        model.users.weight[:, 0] = 0.0
    found = factor_errors(truth, model)[0]
    assert found == pytest.approx(float(truth.users[:, 2].norm() / truth.users.norm()), abs=1e-6)


def test_planted_clusters_are_even_and_separable():
    truth = plant(50, 32, 3, 5, torch.Generator().manual_seed(1))
    assert torch.bincount(truth.clusters).tolist() == [7, 7, 6, 6, 6]
    assert torch.equal(truth.rows[:3], truth.rows[:3].diag().diag())
    assert float(truth.users.min()) == 0.0 and float(truth.rows.min()) == 0.0
    with pytest.raises(ValueError, match="got 3, 2 and 30"):
        plant(50, 30, 3, 2, torch.Generator())


def test_local_minima():
    assert local_minima([3.0, 2.0, 1.0, 1.5, 2.0]) == 1
    assert local_minima([3.0, 1.0, 1.0, 2.0, 0.5]) == 2
    assert local_minima([1.0, 2.0, 3.0]) == local_minima([1.0, 1.0]) == 1


@pytest.mark.slow
def test_more_ratings_identify_clusters_and_factors():
    few, many = theory.identify([1000, 16_000], [0.1], [0], restarts=3)
    assert many.rand_index >= 0.98 > few.rand_index
    assert many.item_error < 0.05 < few.item_error
    assert many.user_error < 0.1 < few.user_error


@pytest.mark.slow
def test_the_planted_number_predicts_best():
    (curve,) = theory.planted_curves([5, 6, 8], 6, [0], restarts=2)
    assert curve.best == 6 and curve.data == "planted 6, seed 0"


def test_a_split_alone_changes_no_loss_at_all():
    truth, generator = theory.planted_problem(0, users=40, items=30, clusters=4)
    train = truth.ratings(1000, 0.3, generator)
    losses = theory.split_losses(Factorisation(40, 30, 4, 9, start=0.5), train, 8, 0)
    assert len(losses) == 8 and all(before == after for before, after in losses)
    assert len({before for before, _ in losses}) == 8


def test_one_field_at_a_time_stays_at_the_saddle():
    full, one, both = saddle.descents(160)
    assert min(one.losses) > 0.68 and len({descent.steps[-1] for descent in (full, one, both)}) == 1
    assert both.losses[-1] < 0.52  # of .500, the entropy of the labels
    assert both.losses[-1] < min(full.losses)


def test_the_command_prints_its_tables_and_draws(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(theory, "STEPS", 20)
    picture = tmp_path / "theory.png"
    planted = "--ratings 500 --noises 0.1 --seeds 1 --curves 1 --restarts 1 --clusters 2 6"
    real = "--movielens 1 2 --epochs 1 --splits 3 --saddle 20"
    theory.main([*planted.split(), *real.split(), "--plot", str(picture)])
    shown = capsys.readouterr().out
    assert "Rand index" in shown and "of 1 seeds" in shown
    assert "MovieLens-100K, seed 0" in shown and "3 splits, 4 clusters, largest difference 0" in shown
    assert "clusters, one field at a time" in shown and "step 20" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
