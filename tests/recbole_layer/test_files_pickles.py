"""Whatever pickles a model, its class, or what holds either."""

import abc
import copy
import io
import multiprocessing
import pickle
import subprocess
import sys

import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.model.context_aware_recommender import FM
from recbole.utils import ModelType

from recbole_cel.config import Config
from recbole_cel.model import get_model, with_strategy
from recbole_cel.strategies import get_strategy
from recbole_cel.trainer import get_trainer

CLASSES = [
    *[
        (name, None)
        for name in ("FM_CEL", "DeepFM_CEL", "xDeepFM_CEL", "FM_ModuloHash", "DCN_ModuloHash", "FM_Full")
    ],
    *[(name, None) for name in ("MF", "MF_CEL", "NMF_CEL", "NeuNMF_CEL", "NMF_ModuloHash")],
    *[(name, "rating") for name in ("FM", "FM_CEL", "DeepFM_ModuloHash", "NFM")],
]
MODELS = [
    ("FM_CEL", None),
    ("DeepFM_CEL", None),
    ("FM_ModuloHash", None),
    ("DCN_Full", None),
    ("FM_CEL", "rating"),
    ("FM", "rating"),
    ("NMF_CEL", None),
    ("MF_CEL", None),
]
FRESH = """
import pickle, sys
name, task, data = pickle.load(sys.stdin.buffer)
loaded = pickle.loads(data)
from recbole_cel.model import get_model
assert loaded is get_model(name, task), loaded
"""
LOADED = """
import io, pickle, sys
import recbole_cel, torch
saved, expected = pickle.load(sys.stdin.buffer)
model = torch.load(io.BytesIO(saved), weights_only=False)
found = {name: tensor for name, tensor in model.state_dict().items()}
assert all(torch.equal(found[name], expected[name]) for name in expected), found
"""


def in_a_fresh_process(script, value):
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(value), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(("name", "task"), CLASSES)
def test_classes_by_their_makers(name, task, protocol):
    made = get_model(name, task)
    assert pickle.loads(pickle.dumps(made, protocol)) is made
    assert copy.deepcopy(made) is made is copy.copy(made)


@pytest.mark.parametrize(("name", "task"), CLASSES[::4])
@pytest.mark.quick(1)
def test_classes_in_a_fresh_process(name, task):
    in_a_fresh_process(FRESH, (name, task, pickle.dumps(get_model(name, task))))


class OfAnotherType(FM, metaclass=abc.ABCMeta):
    pass


class Derived(get_model("FM_CEL")):
    pass


def test_classes_of_others():
    made = with_strategy(OfAnotherType, get_strategy("cel"))
    assert isinstance(made, abc.ABCMeta)
    for found in (made, Derived):
        assert pickle.loads(pickle.dumps(found)) is found


@pytest.mark.parametrize("model", ["FM_CEL", "BPR", "CFKG", "S3Rec"])
def test_trainers(model):
    kind = {"CFKG": ModelType.KNOWLEDGE, "S3Rec": ModelType.SEQUENTIAL}.get(model, ModelType.CONTEXT)
    trainer = get_trainer(kind, model)
    assert pickle.loads(pickle.dumps(trainer)) is trainer


def made(options, name, task):
    options = dict(options)
    if task == "rating" or name[0] in "NM":
        options["threshold"] = None
    if task:
        options["task"] = task
    config = Config(name, "tiny", config_dict=options)
    data = create_dataset(config)
    train, valid, _ = data_preparation(config, data)
    model = get_model(name, task)(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    trainer.fit(train, valid, saved=False)
    batch = next(iter(train))
    return config, model.eval(), batch


@pytest.mark.parametrize(("name", "task"), MODELS)
@pytest.mark.quick(2)
def test_trained_models(name, task, options):
    config, model, batch = made({**options, "epochs": 1}, name, task)
    expected = model.predict(batch)
    stream = io.BytesIO()
    torch.save(model, stream)
    copies = [
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        torch.load(io.BytesIO(stream.getvalue()), weights_only=False),
    ]
    for same in copies:
        assert type(same) is type(model)
        assert torch.equal(same.predict(batch), expected)
    assert pickle.loads(pickle.dumps(config))["model"] == name
    in_a_fresh_process(LOADED, (stream.getvalue(), model.state_dict()))


def test_a_model_goes_to_a_spawned_process(options, tmp_path):
    _, model, _ = made({**options, "epochs": 1}, "FM_CEL", None)
    process = multiprocessing.get_context("spawn").Process(target=torch.save, args=(model, tmp_path / "m.pt"))
    process.start()
    process.join()
    assert process.exitcode == 0
    back = torch.load(tmp_path / "m.pt", weights_only=False).state_dict()
    assert all(torch.equal(tensor, back[name]) for name, tensor in model.state_dict().items())
