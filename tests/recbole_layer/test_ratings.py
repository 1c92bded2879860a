import sys

import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed
from torch import nn

from recbole_cel.config import Config
from recbole_cel.embedding import (
    AdditiveEmbedding,
    ClusterAssignment,
    ClusteredEmbedding,
    ModuloHashEmbedding,
    project_non_negative,
)
from recbole_cel.model import get_model
from recbole_cel.options import SettingError
from recbole_cel.quick_start import load_data_and_model, run_recbole_cel
from recbole_cel.runs import checkpoint as checkpoints
from recbole_cel.trainer import get_trainer


@pytest.fixture
def ratings(options):
    """Options for a short run on the ratings of the small data set."""
    options.pop("threshold")
    return {**options, "task": "rating", "embedding_size": 6, "learning_rate": 0.02, "cel_folds": 1}


def build(name, options, **extra):
    config = Config(name, "tiny", config_dict={**options, **extra}, command_line=False)
    init_seed(config["seed"], True)
    train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
    model = get_model(config["model"], config["task"])(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    return config, model, trainer, train_data, valid_data, test_data


def mean_squared_error(model, data):
    model.eval()
    parts = [(model.predict(batch), batch["rating"]) for batch, *_ in data]
    scores, ratings = map(torch.cat, zip(*parts))
    return float((scores - ratings).detach().square().mean())


def effective_rows(model):
    with torch.no_grad():
        return model.user_rows(torch.arange(model.n_users)), model.item_rows(torch.arange(model.n_items))


@pytest.mark.parametrize("base", ["MF", "NMF", "NeuNMF"])
@pytest.mark.parametrize("suffix", ["", "_CEL", "_ModuloHash"])
def test_rating_models_run_and_load(base, suffix, ratings, tmp_path):
    result = run_recbole_cel(base + suffix, "tiny", config_dict=ratings)
    found = result["test_result"]
    assert list(found) == ["rmse", "mae", "mse"]
    assert found["mse"] == pytest.approx(found["rmse"] ** 2, abs=4e-4)
    assert not result["valid_score_bigger"]
    file = next(file for file in (tmp_path / "saved").iterdir() if "-last" not in file.name)
    _, model, _, _, _, test_data = load_data_and_model(str(file))
    assert mean_squared_error(model, test_data) == pytest.approx(found["mse"], abs=1e-4)


@pytest.mark.parametrize("model", ["MF", "NMF", "NeuNMF", "MF_CEL", "NMF_CEL", "NeuNMF_CEL"])
def test_rating_models_learn(model, ratings):
    ratings.update(epochs=60, stopping_step=60, learning_rate=0.05, cel_max_clusters=8)
    _, built, trainer, train_data, valid_data, _ = build(model, ratings)
    trainer.fit(train_data, valid_data, saved=False)
    variance = float(train_data._dataset.inter_feat["rating"].var())
    last = list(trainer.train_loss_dict.values())[-1] / len(train_data)
    assert last < 0.8 * variance


def test_ratings_keep_their_scale(ratings):
    _, model, _, train_data, _, _ = build("NMF_CEL", ratings)
    found = train_data._dataset.inter_feat["rating"]
    assert set(found.tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert float(model.mean_rating) == pytest.approx(float(found.mean()))
    users, items = effective_rows(model)
    assert abs(float((users[1:] @ items[1:].T).detach().mean()) - float(found.mean())) < 1.0


def test_mf_by_hand(ratings):
    _, model, _, train_data, _, _ = build("MF", ratings)
    with torch.no_grad():
        model.user_bias.weight.normal_()
        model.item_bias.weight.normal_()
        model.global_bias.fill_(0.5)
    batch = next(iter(train_data))
    u, i = int(batch["user_id"][3]), int(batch["item_id"][3])
    expected = model.mean_rating + 0.5 + model.user_bias.weight[u, 0] + model.item_bias.weight[i, 0]
    expected = expected + model.user_rows.weight[u] @ model.item_rows.weight[i]
    assert float(model.predict(batch)[3].detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    loss = (model.predict(batch) - batch["rating"]).square().mean()
    assert torch.allclose(model.calculate_loss(batch), loss)


def test_neunmf_is_the_inner_product_and_a_perceptron(ratings):
    _, model, _, train_data, _, _ = build("NeuNMF_CEL", ratings)
    batch = next(iter(train_data))
    model.eval()
    whole = model.predict(batch)
    with torch.no_grad():
        model.mlp_output.weight.zero_()
        model.mlp_output.bias.fill_(0.25)
    users, items = model.rows(batch)
    assert torch.allclose(model.predict(batch), (users * items).sum(-1) + 0.25, atol=1e-6)
    assert not torch.allclose(model.predict(batch), whole, atol=1e-3)


@pytest.mark.parametrize("strategy", ["", "_CEL", "_ModuloHash"])
def test_the_two_tables_of_a_field_and_their_assignment(strategy, ratings):
    config, model, trainer, *_ = build(f"MF{strategy}", ratings)
    assert (model.n_users, model.n_items) == (61, 41)
    rows = 61 if strategy == "" else 4
    assert model.user_rows.weight.shape == (rows, 6) and model.user_bias.weight.shape == (rows, 1)
    if strategy == "_CEL":
        assert model.user_rows.assignment is model.user_bias.assignment
        assert model.user_rows.assignment is not model.item_rows.assignment
    assert [size.full_parameters for size in trainer.sizes()] == ([61 * 7, 41 * 7] if strategy else [])


def test_biases_can_stay_one_for_each_entity(ratings):
    _, model, _, _, _, _ = build("MF_CEL", ratings, cel_share_first_order=False)
    assert model.user_bias.weight.shape == (61, 1) and model.item_rows.weight.shape == (4, 6)


@pytest.mark.parametrize("fields", [["user_id"], ["item_id"], ["user_id", "item_id"]])
@pytest.mark.parametrize("model", ["MF_CEL", "FM_CEL"])
def test_users_items_or_both_are_clustered(model, fields, ratings):
    _, built, trainer, train_data, valid_data, _ = build(model, ratings, cel_fields=fields, cel_split_interval=0.5)
    trainer.fit(train_data, valid_data, saved=False)
    assert [(size.field, size.clusters) for size in trainer.sizes()] == [(field, 4) for field in fields]
    if model == "MF_CEL" and len(fields) == 1:
        whole = built.item_rows if fields == ["user_id"] else built.user_rows
        assert isinstance(whole, nn.Embedding)


def test_a_field_that_a_rating_model_does_not_use(ratings):
    with pytest.raises(SettingError, match="'age', which the model does not use; it uses item_id, user_id"):
        build("MF_CEL", {**ratings, "cel_fields": ["age"]})


@pytest.mark.parametrize(("base", "rate"), [("NMF", 0.3), ("NeuNMF", 0.1)])
@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"cel_levels": 2},
        {"cel_personalisation": True},
        {"cel_personalisation": True, "cel_folds": 3},
    ],
    ids=str,
)
def test_rows_are_never_negative(base, rate, extra, ratings):
    ratings.update(learning_rate=rate, epochs=4, cel_split_interval=0.4, cel_reassign_interval=0.5, **extra)
    ratings.update(cel_personalisation_start=2.0, cel_personalisation_lambda=0.0, cel_max_clusters=8)
    _, model, trainer, train_data, valid_data, _ = build(f"{base}_CEL", ratings)
    lowest = []
    assert all(float(rows.min()) >= 0 for rows in effective_rows(model))
    trainer.attach(train_data)
    trainer.optimizer.register_step_post_hook(
        lambda *_: lowest.append(min(float(rows.min()) for rows in effective_rows(model)))
    )
    trainer.fit(train_data, valid_data, saved=False)
    assert len(lowest) == 4 * len(train_data) and min(lowest) >= 0
    shared = [part.weight for part in model.user_rows.modules() if isinstance(part, ClusteredEmbedding)]
    assert all(float(weight.min()) >= 0 for weight in shared)
    # The steps are so long that many rows would be negative without the projection.
    assert min(lowest) == 0
    if "cel_personalisation" in extra:
        assert float(model.user_rows.personal.min()) < 0 < float(model.user_rows.personal.max())


def test_mf_may_have_negative_rows(ratings):
    _, model, trainer, train_data, valid_data, _ = build("MF_CEL", ratings)
    trainer.fit(train_data, valid_data, saved=False)
    assert float(model.user_rows.weight.min()) < 0


def test_projection_by_hand():
    plain, hashed = nn.Embedding(3, 2), ModuloHashEmbedding(6, 2, 3)
    clustered = ClusteredEmbedding(ClusterAssignment(4, 2, 2), 1, personalisation=True)
    levels = AdditiveEmbedding([ClusteredEmbedding(ClusterAssignment(4, 2), 1, std=1.0) for _ in range(2)])
    for table in (plain, hashed, *levels.levels):
        with torch.no_grad():
            table.weight[:] = torch.arange(table.weight.numel()).view_as(table.weight) - 1.0
    project_non_negative(plain), project_non_negative(hashed), project_non_negative(levels)
    assert plain.weight.tolist() == hashed.weight.tolist() == [[0, 0], [1, 2], [3, 4]]
    assert [level.weight.tolist() for level in levels.levels] == [[[0], [0]], [[0], [0]]]
    with torch.no_grad():
        clustered.weight[:] = torch.tensor([[2.0], [-1.0]])
        clustered.personal[:] = torch.tensor([[-3.0], [-3.0], [-1.0], [4.0]])
    clustered.start_personalisation()
    project_non_negative(clustered)
    assert clustered.weight.tolist() == [[2], [0]]
    assert clustered.personal.tolist() == [[-2], [0], [-1], [4]]


@pytest.mark.parametrize("pull", [0.0, 1e4])
def test_lambda_pulls_own_rows_to_their_clusters(pull, ratings):
    ratings.update(cel_personalisation=True, cel_personalisation_start=1.0, cel_personalisation_lambda=pull)
    _, model, trainer, train_data, valid_data, _ = build("MF_CEL", {**ratings, "epochs": 6})
    trainer.fit(train_data, valid_data, saved=False)
    length = float(model.user_rows.personal.detach().norm())
    assert length > 0.5 if pull == 0 else 0 < length < 0.1 * 0.5 * 61


def test_gradient_averaging_divides_the_step_of_sgd_by_the_members(ratings):
    steps = {}
    for averaged in (False, True):
        _, model, trainer, train_data, _, _ = build(
            "MF_CEL", ratings, learner="sgd", cel_gradient_averaging=averaged
        )
        model.calculate_loss(next(iter(train_data))).backward()
        assert isinstance(trainer.optimizer, torch.optim.SGD)
        steps[averaged] = model.user_rows.weight.grad[0]
    assert float(steps[False].abs().max()) > 0
    assert torch.allclose(steps[True] * 61, steps[False], rtol=1e-4, atol=1e-7)


def test_sgd_with_gradient_averaging_learns(ratings):
    ratings.update(learner="sgd", learning_rate=0.4, cel_gradient_averaging=True, epochs=60, stopping_step=60)
    _, _, trainer, train_data, valid_data, _ = build("MF_CEL", ratings)
    trainer.fit(train_data, valid_data, saved=False)
    losses = list(trainer.train_loss_dict.values())
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("base", ["FM", "DeepFM", "WideDeep"])
@pytest.mark.parametrize("suffix", ["", "_CEL"])
@pytest.mark.quick(3)
def test_context_models_on_ratings(base, suffix, ratings, tmp_path):
    result = run_recbole_cel(base + suffix, "tiny", config_dict={**ratings, "epochs": 8, "learning_rate": 0.01})
    assert list(result["test_result"]) == ["rmse", "mae", "mse"]
    file = next(file for file in (tmp_path / "saved").iterdir() if "-last" not in file.name)
    _, model, _, train_data, _, _ = load_data_and_model(str(file))
    assert type(model).__name__ == base + suffix
    batch = next(iter(train_data))
    model.eval()
    assert torch.equal(model.predict(batch), model.forward(batch))
    assert 2 < float(model.predict(batch).mean()) < 5
    assert torch.allclose(
        model.calculate_loss(batch), (model.predict(batch) - batch["rating"]).square().mean(), atol=1e-5
    )
    assert result["test_result"]["mse"] < 1.9


@pytest.mark.parametrize("model", ["NMF_CEL", "MF", "NeuNMF_CEL", "FM_CEL"])
@pytest.mark.quick(2)
def test_resumed_run_is_bit_equal(model, ratings, tmp_path):
    ratings.update(cel_split_interval=0.7, cel_reassign_interval=0.6, cel_reassign_gain=0.0)
    if model != "MF":
        ratings.update(cel_personalisation=True, cel_personalisation_start=3)
    whole = run_recbole_cel(model, "tiny", config_dict={**ratings, "epochs": 5, "checkpoint_dir": "whole"})
    run_recbole_cel(model, "tiny", config_dict={**ratings, "epochs": 2, "checkpoint_dir": "parts"})
    last = next((tmp_path / "parts").glob("*-last.pth"))
    ratings.update(epochs=5, checkpoint_dir="parts", cel_resume=str(last))
    assert run_recbole_cel(model, "tiny", config_dict=ratings) == whole
    one = checkpoints.read(next((tmp_path / "whole").glob("*-last.pth")))
    other = checkpoints.read(last)
    for part in ("state_dict", "optimizer", "strategy"):
        assert checkpoints.digest(one[part]) == checkpoints.digest(other[part]), part


@pytest.mark.parametrize(
    ("model", "extra", "message"),
    [
        ("FM_CEL", {"task": "ratings"}, "task must be one of label, rating, got 'ratings'"),
        ("MF_CEL", {"task": "label"}, "task must be rating for MF_CEL"),
        ("BPR", {"task": "rating"}, "task must be label for BPR"),
        ("FM", {"task": "rating", "threshold": {"rating": 3}}, "threshold makes labels of the ratings"),
        ("NMF", {"normalize_all": True}, "normalize_all and normalize_field must leave the ratings"),
        ("NMF", {"normalize_field": ["rating"]}, "normalize_all and normalize_field must leave the ratings"),
        ("NMFF_CEL", {}, "did you mean NMF_CEL"),
    ],
)
def test_bad_tasks_are_one_clear_line(model, extra, message):
    with pytest.raises(SettingError, match=message):
        Config(model, "ml-100k", config_dict=extra, command_line=False)


def test_models_of_probabilities_take_no_ratings(ratings):
    with pytest.raises(SettingError, match="task must be label for DCNV2_CEL"):
        build("DCNV2_CEL", ratings)


def test_the_task_sets_what_belongs_to_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--task=rating", "--RATING_FIELD=stars"])
    made = Config("FM_CEL", "ml-100k")
    assert (made["LABEL_FIELD"], made["threshold"], made["valid_metric"]) == ("stars", None, "RMSE")
    assert not made["valid_metric_bigger"]
    labels = Config("FM_CEL", "ml-100k", command_line=False)
    assert (labels["task"], labels["LABEL_FIELD"], labels["threshold"]) == ("label", "label", {"rating": 4})
    own = Config("MF", "ml-100k", config_dict={"metrics": ["MSE"], "valid_metric": "MSE"}, command_line=False)
    assert own["task"] == "rating" and own["metrics"] == ["MSE"] and not own["valid_metric_bigger"]


def test_report_of_ratings(ratings):
    _, _, trainer, train_data, valid_data, test_data = build("NMF_CEL", ratings)
    trainer.fit(train_data, valid_data, saved=False)
    text = trainer.report(trainer.evaluate(test_data, load_best_model=False))
    assert "RMSE" in text and "MAE" in text and "AUC" not in text
    rows = trainer.activity()
    users = [row for row in rows if row.field == "user_id" and row.interactions]
    total = sum(row.interactions * row.metrics["RMSE"] ** 2 for row in users) / sum(r.interactions for r in users)
    result = trainer.evaluate(test_data, load_best_model=False)
    assert total == pytest.approx(result["mse"], abs=1e-4)
