import pkgutil
import sys

import pytest
import recbole.model.context_aware_recommender as context_models
import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_cel.config import Config
from recbole_cel.data import NEGATIVES
from recbole_cel.embedding import ClusteredEmbedding
from recbole_cel.model import get_model
from recbole_cel.model.builder import StrategyRecommender
from recbole_cel.options import SettingError
from recbole_cel.trainer import get_trainer

# Tables of their own, which the mechanism does not reach yet (FFM), or losses that are not point-wise (KD_DAGFM).
NOT_YET = {"FFM", "KD_DAGFM"}
PROPER = {
    "afm": "AFM", "autoint": "AutoInt", "dcn": "DCN", "dcnv2": "DCNV2", "deepfm": "DeepFM", "dssm": "DSSM",
    "eulernet": "EulerNet", "ffm": "FFM", "fignn": "FiGNN", "fm": "FM", "fnn": "FNN", "fwfm": "FwFM",
    "kd_dagfm": "KD_DAGFM", "lr": "LR", "nfm": "NFM", "pnn": "PNN", "widedeep": "WideDeep", "xdeepfm": "xDeepFM",
}  # fmt: skip


def build(name, options, **extra):
    config = Config(name, "tiny", config_dict={**options, **extra}, command_line=False)
    init_seed(config["seed"], True)
    data = create_dataset(config)
    train_data, valid_data, _ = data_preparation(config, data)
    model = get_model(name)(config, train_data._dataset)
    return config, model, data, train_data, valid_data


def test_the_list_of_models_is_complete():
    assert set(PROPER) == {module.name for module in pkgutil.iter_modules(context_models.__path__)}


@pytest.mark.parametrize("base", sorted(set(PROPER.values()) - NOT_YET))
def test_context_models_train_with_clusters(base, options):
    # Growth reassigns in passing; a reassignment after it may empty the fourth cluster: ids are of three kinds.
    schedule = {"epochs": 2, "cel_split_interval": 0.5, "cel_reassign_interval": 3}
    config, model, _, train_data, valid_data = build(f"{base}_CEL", options, **schedule)
    tables = [m for m in model.modules() if isinstance(m, ClusteredEmbedding)]
    assert len(tables) >= 2
    assert all(table.weight.shape[0] == 4 for table in tables)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train_data, valid_data, saved=False)
    assert [size.clusters for size in trainer.sizes()] == [4, 4]


@pytest.mark.parametrize("base", sorted(NOT_YET))
def test_models_that_cannot_be_clustered_say_so(base, options):
    with pytest.raises(SettingError, match=base):
        config, model, _, train_data, valid_data = build(f"{base}_CEL", options)
        get_trainer(config["MODEL_TYPE"], config["model"])(config, model).attach(train_data)


@pytest.mark.parametrize("base", ["FM", "DeepFM", "xDeepFM"])
def test_as_many_clusters_as_entities_is_the_base_model(base, options):
    """With one cluster for each id and the rows of the plain model, the outputs are the plain model's."""
    _, plain, _, train_data, _ = build(base, options)
    options = {**options, "cel_max_clusters": 100, "cel_initial_clusters": 100}
    config, clustered, data, _, _ = build(f"{base}_CEL", {**options, "cel_initial_clusters": 41})
    for strategy in clustered.embedding_strategies.values():
        everyone = torch.arange(strategy.num_entities)
        strategy.assignments[0].move(everyone, everyone)
    offsets = dict(zip(plain.token_field_names, plain.token_field_offsets))
    theirs = dict(plain.named_parameters())
    with torch.no_grad():
        for name, parameter in clustered.named_parameters():
            if name in theirs:
                parameter.copy_(theirs[name])
        for path in ("token_embedding_table", "first_order_linear.token_embedding_table"):
            full = theirs[f"{path}.embedding.weight"]
            table = clustered.get_submodule(path)
            for field, own in table.own.items():
                own.weight.copy_(full[offsets[field] : offsets[field] + len(own.weight)])
            table.stacked.weight.copy_(full[offsets["age"] : offsets["age"] + len(table.stacked.weight)])
    batch = next(iter(train_data))
    plain.eval(), clustered.eval()
    assert torch.allclose(plain.predict(batch), clustered.predict(batch), atol=1e-6)
    assert clustered.token_field_dims == [int(data.num(f)) for f in clustered.token_field_names]


def test_fields_in_another_order_and_side_features_can_be_clustered(options):
    _, model, data, train_data, _ = build(
        "FM_CEL", options, cel_fields=["age", "item_id"], cel_max_clusters={"age": 2, "item_id": 3}
    )
    table = model.eval().token_embedding_table
    ids = torch.stack([train_data._dataset.inter_feat["user_id"][:5], torch.arange(5), torch.arange(5)], dim=1)
    assert model.token_field_names == ["user_id", "item_id", "age"]
    rows = table(ids)
    assert torch.equal(rows[:, 0], table.stacked(ids[:, 0]))
    assert torch.equal(rows[:, 1], table.own["item_id"](ids[:, 1]))
    assert torch.equal(rows[:, 2], table.own["age"](ids[:, 2]))
    assert table.stacked.num_embeddings == data.num("user_id")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["user_id", "itemid"], "'itemid', which is no token field of data set tiny"),
        (["class"], "no token field"),
    ],
)
def test_fields_that_do_not_exist(fields, message, options):
    with pytest.raises(SettingError, match=message) as error:
        build("FM_CEL", options, cel_fields=fields)
    assert "its token fields are user_id, item_id, age" in str(error.value)


def test_unshared_first_order_keeps_one_weight_for_each_entity(options):
    config, model, data, _, _ = build("FM_CEL", options, cel_share_first_order=False)
    own = model.first_order_linear.token_embedding_table.own
    assert own["user_id"].weight.shape == (data.num("user_id"), 1)
    assert model.token_embedding_table.own["user_id"].weight.shape == (4, 10)
    size = get_trainer(model.type, "FM_CEL")(config, model).sizes()[0]
    assert (size.parameters, size.full_parameters) == (4 * 10 + 61, 61 * 11)


def test_shared_tables_of_a_field_share_the_assignment(options):
    _, model, _, _, _ = build("DeepFM_CEL", options)
    latent = model.token_embedding_table.own["user_id"]
    assert model.first_order_linear.token_embedding_table.own["user_id"].assignment is latent.assignment


def test_levels_divide_the_rows_of_a_field(options):
    sizes, full = {}, {}
    for levels in (1, 3):
        config, model, _, train_data, valid_data = build(
            "FM_CEL", options, cel_levels=levels, cel_max_clusters=8, cel_split_interval=0.2
        )
        trainer = get_trainer(model.type, "FM_CEL")(config, model)
        trainer.fit(train_data, valid_data, saved=False)
        size = trainer.sizes()[0]
        sizes[levels], full[levels] = size.parameters, size.full_parameters
        assert size.clusters == 8
        # Three bits of a single level, or two of each of three levels; without each fold; members and occupied.
        assert size.storage.codes == 61
        assert size.storage.training_codes == 4 * 61 + 8 * 9
    assert sizes[1] == sizes[3] == 8 * 11
    assert full[1] == full[3] == 61 * 11
    levels = model.token_embedding_table.own["user_id"].levels
    assert [len(level.weight) for level in levels] == [3, 3, 2]
    assert all(level.weight.abs().sum() > 0 for level in levels)


def test_full_tables_are_counted_once(options):
    config, model, _, _, _ = build("FM_Full", options)
    sizes = get_trainer(model.type, "FM_Full")(config, model).sizes()
    assert [(size.parameters, size.full_parameters) for size in sizes] == [(61 * 11, 61 * 11), (41 * 11, 41 * 11)]


def test_training_looks_up_what_was_assigned_without_the_interaction(options):
    config, model, _, train_data, _ = build("FM_CEL", options, cel_folds=2)
    trainer = get_trainer(model.type, "FM_CEL")(config, model)
    trainer.fit(train_data, saved=False)
    assert trainer.sizes()[0].storage.codes == 61
    objective = trainer.strategy_hook.objective
    batch = next(iter(train_data))
    with torch.no_grad():
        model.eval()
        tested = model.forward(batch)
        with model.lookups(batch):
            trained = model.forward(batch)
        assert not torch.equal(tested, trained)
        assert torch.allclose(model.calculate_loss(batch), model.loss(trained, batch["label"]))
        # The cluster optimisation sees what training sees.
        users, items = objective.entities("user_id"), objective.entities("item_id")
        for row in range(5):
            same = (users == batch["user_id"][row]) & (items == batch["item_id"][row])
            assert torch.allclose(objective.outputs(same.nonzero().squeeze(1)), trained[row])


def test_the_cluster_optimisation_sees_logits_of_probabilities(options):
    config, model, _, train_data, _ = build("DCNV2_CEL", options, cel_folds=2)
    assert isinstance(model.loss, torch.nn.BCELoss)
    trainer = get_trainer(model.type, "DCNV2_CEL")(config, model)
    trainer.fit(train_data, saved=False)
    objective = trainer.strategy_hook.objective
    users, items = objective.entities("user_id"), objective.entities("item_id")
    batch = next(iter(train_data))
    model.eval()
    with torch.no_grad(), model.lookups(batch):
        trained = model.forward(batch)
    for row in range(5):
        (same, *_) = ((users == batch["user_id"][row]) & (items == batch["item_id"][row])).nonzero()
        with torch.no_grad():
            outputs = objective.outputs(same)
        assert torch.allclose(outputs.sigmoid(), trained[row])
        expected = model.loss(trained[row : row + 1], objective.targets(same))
        assert torch.allclose(objective.loss(outputs, objective.targets(same)), expected, atol=1e-5)


def test_fields_of_few_ids_have_fewer_levels(options):
    _, model, _, _, _ = build("FM_CEL", options, cel_fields=["user_id", "age"], cel_levels=4, cel_max_clusters=40)
    own = model.token_embedding_table.own
    assert [len(level.weight) for level in own["user_id"].levels] == [10] * 4
    assert [len(level.weight) for level in own["age"].levels] == [2, 2, 2]
    _, model, _, _, _ = build("FM_CEL", options, cel_levels=4, cel_max_clusters="auto", cel_compression_ratio=30)
    assert model.token_embedding_table.own["user_id"].weight.shape == (2, 10)


def test_modulo_hash_of_the_same_size(options):
    _, model, _, _, _ = build("FM_ModuloHash", options)
    table = model.token_embedding_table.own["user_id"]
    assert table.weight.shape == (4, 10)
    assert torch.equal(table(torch.tensor([1])), table(torch.tensor([5])))


def test_penalty_of_own_rows(options):
    _, model, _, train_data, _ = build("FM_CEL", options, cel_personalisation=True, cel_personalisation_lambda=3.0)
    batch = next(iter(train_data))
    table = model.token_embedding_table.own["user_id"]
    with torch.no_grad():
        table.personal[1] = 0.1
    without = model.calculate_loss(batch)
    table.start_personalisation()
    extra = 3.0 * 10 * 0.01 / len(train_data._dataset)
    assert torch.allclose(model.calculate_loss(batch) - without, torch.tensor(extra), atol=1e-6)


def test_pull_of_shared_rows(options):
    hierarchy = {"cel_super_clusters": 1, "cel_super_cluster_weight": 3.0, "cel_initial_clusters": 2}
    _, model, _, train_data, _ = build("FM_CEL", options, **hierarchy)
    batch = next(iter(train_data))
    tables = [m for m in model.modules() if isinstance(m, ClusteredEmbedding)]
    with torch.no_grad():
        for table in tables:
            table.weight.copy_(torch.tensor([0.1, 0.3, 0.0, 0.0]).unsqueeze(1))
    loss = model.calculate_loss(batch)
    with model.lookups(batch):
        plain = super(StrategyRecommender, model).calculate_loss(batch)
    extra = 3.0 * sum(table.embedding_dim for table in tables) * 2 * 0.1**2 / len(train_data._dataset)
    assert len(tables) == 4 and torch.allclose(loss - plain, torch.tensor(extra), atol=1e-6)


def test_penalties_are_shared_among_all_rows_of_an_epoch(options):
    """The loss of a batch is a mean over positives and negatives that are drawn."""
    drawn = {"distribution": "uniform", "sample_num": 3}
    extra = dict(train_neg_sample_args=drawn, threshold=None, metrics=["AUC"], valid_metric="AUC")
    extra["eval_args"] = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": None, "mode": "uni10"}
    config, model, _, train_data, _ = build("FM_CEL", options, cel_super_clusters=1, **extra)
    get_trainer(config["MODEL_TYPE"], config["model"])(config, model).attach(train_data)
    assert model.num_examples == sum(map(len, train_data)) == 4 * len(train_data._dataset)


def test_negative_sampling_redraws_for_each_event(options):
    sampling = {"distribution": "uniform", "sample_num": 1}
    extra = dict(train_neg_sample_args=sampling, threshold=None, metrics=["AUC"], valid_metric="AUC")
    extra["eval_args"] = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": None, "mode": "uni10"}
    config, model, _, train_data, valid_data = build("FM_CEL", options, **extra)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.attach(train_data)
    objective = trainer.strategy_hook.objective
    assert objective.refresh() and objective.refresh()
    first = objective.entities("item_id").clone()
    positives = len(train_data._dataset)
    assert len(first) == (1 + NEGATIVES) * positives
    everything = torch.arange(len(first))
    positive, weights = objective.targets(everything) == 1, objective.weights(everything)
    assert int(positive.sum()) == positives and bool((weights[positive] == 1).all())
    # Together, the negatives count as much as those that a step of training draws.
    assert float(weights[~positive].sum()) == pytest.approx(positives)
    liked = set(zip(objective.entities("user_id")[positive].tolist(), first[positive].tolist()))
    drawn = set(zip(objective.entities("user_id")[~positive].tolist(), first[~positive].tolist()))
    assert not liked & drawn
    assert objective.refresh() and not torch.equal(first, objective.entities("item_id"))
    trainer.fit(train_data, valid_data, saved=False)
    assert trainer.sizes()[0].clusters == 4


def test_no_model_slows_all_others_down():
    """Importing RecBole's SINE switches anomaly detection on for the whole process."""
    sys.modules.pop("recbole.model.sequential_recommender.sine", None)
    assert get_model("SINE").__name__ == "SINE"
    assert not torch.is_anomaly_enabled()
