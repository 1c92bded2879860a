"""Options that are misspelt, of another type, at the edge of what is right, out of range, or code."""

from __future__ import annotations

import dataclasses
import functools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml

from recbole_cel.config import Config
from recbole_cel.inputs import values
from recbole_cel.settings import CELSettings

from . import option_texts, tiny_runs
from .grammar import CODE, EDGES, TEXTS, Evil, value
from .option_texts import all_keys, of_file, of_words, own_keys
from .trial import Trial, unless_finite

SECONDS = 20.0
MODELS = ("FM_CEL", "DeepFM_CEL", "MF_CEL", "NMF_CEL", "FM", "DCN_CEL", "FM_ModuloHash")
# Of these a run of one epoch would be long, or ends elsewhere than in the folder of the trial.
NOT_RUN = {
    *("epochs", "data_path", "checkpoint_dir", "gpu_id", "use_gpu", "worker", "log_wandb", "eval_step"),
    *("train_batch_size", "eval_batch_size", "cel_split_interval", "cel_reassign_interval"),
    *("train_neg_sample_args", "device", "eval_args", "cel_resume"),
}


def prepare(folder: Path) -> None:
    tiny_runs.data(folder / "data")
    (folder / "evil.pth").write_bytes(pickle.dumps(Evil()))
    (folder / "evil.npy").write_bytes(pickle.dumps(Evil()))


def trial(random: Random, folder: Path) -> Trial:
    ways: list[tuple[int, Callable[[Random, Path], Trial]]] = [
        *((6, _any_value), (6, _edge), (3, _wrong_type), (3, _misspelt), (3, _nested), (2, _planted)),
        *((3, option_texts.twice), (5, option_texts.mutated_yaml), (4, option_texts.grown_yaml)),
        (4, option_texts.some_words),
    ]
    way = random.choices([way for _, way in ways], [weight for weight, _ in ways])[0]
    return way(random, folder)


def _configured(
    random: Random, folder: Path, model: str, given: dict[Any, Any], runs: bool = True
) -> Callable[[], Any]:
    """Make a configuration of it, and now and then a run of one epoch."""
    whole = runs and not NOT_RUN & set(map(str, given)) and random.random() < 0.3
    options = {**tiny_runs.options(folder / "data", model), **given}

    def call() -> Any:
        if whole:
            return tiny_runs.run(model, options)
        return Config(model, "tiny", config_dict=options, command_line=False)

    return call


def _finite(result: Any) -> str | None:
    return unless_finite(result) if isinstance(result, dict) else None


def _any_value(random: Random, folder: Path) -> Trial:
    model = random.choice(MODELS)
    given = {random.choice(own_keys() if random.random() < 0.5 else all_keys()): value(random)
             for _ in range(random.choice([1, 1, 1, 2, 4]))}  # fmt: skip
    return Trial(f"{model} {given}", _configured(random, folder, model, given), wrong=_metrics_unless_few(given))


@functools.cache
def _checks() -> dict[str, Callable[[Any], bool]]:
    """Options, each with the check of a value."""
    found = {f"cel_{spec.name}": spec.metadata["ok"] for spec in dataclasses.fields(CELSettings)}
    found |= {key: ok for key, (_, ok) in values.VALUES.items()}
    found |= {key: lambda value, words=words: value in words for key, words in values.WORDS.items()}
    return {**found, "embedding_budget": lambda value: True, "metrics": lambda value: True}


def _edge(random: Random, folder: Path) -> Trial:
    """A value that an option may have, if it may have it: then a run with it ends well."""
    model = random.choice(MODELS)
    own = random.random() < 0.6
    known = [key for key in _checks() if key.startswith("cel_") == own and key not in NOT_RUN]
    given: dict[str, Any] = {}
    while not given or (random.random() < 0.3 and len(given) < 3):
        key = random.choice(known)
        ok = _checks()[key]
        given[key] = random.choice([found for found in EDGES if ok(found)] or [None])
    options = {**tiny_runs.options(folder / "data", model), **given}
    return Trial(f"{model} {given}", lambda: tiny_runs.run(model, options), wrong=_metrics_unless_few(given))


def _metrics_unless_few(given: dict[str, Any]) -> Callable[[Any], str | None]:
    # Options of metrics, labels and filters may leave nothing to be measured.
    free = {"metrics", "threshold", "val_interval", "load_col", "topk", "valid_metric", "repeatable"}
    return (lambda result: None) if free & set(given) else _finite


def _wrong_type(random: Random, folder: Path) -> Trial:
    numbers = [key for key, (want, _) in values.VALUES.items() if want.startswith(("an integer", "a number"))
               and "list" not in want]  # fmt: skip
    dicts = ["load_col", "threshold", "val_interval", "eval_args", "discretization", "clip_grad_norm", "seq_len"]
    bad: list[Any]
    if random.random() < 0.6:
        key = random.choice([*numbers, "cel_levels", "cel_folds", "cel_split_gain", "cel_reassign_interval"])
        bad = ["many", [1], {"a": 1}, "1,2", float("nan"), -float("inf"), -3, "1 2", (1, 2), "0x1g", -1.5, CODE]
    else:
        key = random.choice(dicts)
        bad = ["x", 3, [1, 2], {1: 2, "a": object}, {"rating": [[]], "x": {}}, 0.5, True, {"": 1}, CODE]
    found = random.choice(bad)
    return Trial(f"{key}={found!r}", _configured(random, folder, "FM_CEL", {key: found}, False), refused=True)


def _misspelt(random: Random, folder: Path) -> Trial:
    key = random.choice(own_keys())
    bare = key.removeprefix("cel_")
    wrong = random.choice([
        key.upper(), key.title(), key.replace("_", "-"), f"cel{bare}", f"CEL_{bare}", f"cel_{bare}s",
        f"cel__{bare}",
        f"cel_{bare[1:]}", f"{key} ", f" {key}", f"cel.{bare}", f"cel_{bare[:-1]}", f"_{key}", f"cel {bare}",
        key.replace("_", " "), f"Cel_{bare}", f"cel_{bare.replace('_', '')}x",
    ])  # fmt: skip
    if wrong in own_keys():
        wrong = f"{wrong}_x"
    given = {wrong: random.choice([1, 2, True, "x"])}
    if random.random() < 0.5:
        return Trial(f"{wrong!r}", _configured(random, folder, "FM_CEL", given, False), refused=True)
    return of_file(f"{json.dumps(wrong)}: 1\n".encode(), refused=True)


def _nested(random: Random, folder: Path) -> Trial:
    """An option that holds others, one of which is broken."""
    good: dict[str, Any] = {
        "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user", "mode": "labeled"},
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False},
        "load_col": {"inter": ["user_id", "item_id", "rating"], "item": ["item_id", "class"]},
        "threshold": {"rating": 3},
        "val_interval": {"rating": "[1,5]"},
        "discretization": {"size": {"method": "ED", "bucket": 3}},
        "cel_max_clusters": {"user_id": 4, "item_id": 4},
        "clip_grad_norm": {"max_norm": 1},
        "metrics": ["AUC", "LogLoss"],
    }
    key = random.choice(list(good))
    broken = yaml.safe_load(yaml.safe_dump(good[key]))
    for _ in range(random.choice([1, 1, 2])):
        _break(random, broken)
    call = _configured(random, folder, "FM_CEL", {key: broken})
    return Trial(f"{key}={broken!r}", call)


def _break(random: Random, part: Any) -> None:
    while True:
        places: list[Any] = list(part) if isinstance(part, dict) else list(range(len(part)))
        if not places:
            return
        place = random.choice(places)
        if isinstance(part[place], (dict, list)) and random.random() < 0.6:
            part = part[place]
            continue
        if random.random() < 0.2:
            del part[place]
        else:
            part[place] = value(random, 2)
        return


def _planted(random: Random, folder: Path) -> Trial:
    """Options that would make RecBole run code."""
    model = random.choice(("KD_DAGFM", "FM_CEL", "LDiffRec", "NeuMF", "NAIS", "FM", "ConvNCF", "S3Rec"))
    evil = str(folder / random.choice(["evil.pth", "evil.npy"]))
    given: dict[str, Any] = random.choice([
        {"teacher": CODE, "phase": random.choice(["teacher_training", "distillation", "finetuning"])},
        {"dataset_save_path": evil}, {"dataloaders_save_path": evil}, {"warm_up": evil, "phase": "distillation"},
        {"mf_pretrain_path": evil, "mlp_pretrain_path": evil, "use_pretrain": True}, {"pretrain_path": evil},
        {"pre_model_path": evil, "train_method": "after_pretrain", "train_stage": "finetune"},
        {"cel_resume": evil}, {"n_cate": 2}, {"model": CODE}, {"dataset": CODE}, {"learner": CODE},
        {"device": CODE},
        {"metrics": [CODE]}, {"transform": CODE}, {"loss_type": CODE}, {"additional_feat_suffix": [evil]},
        {random.choice(all_keys()): random.choice(TEXTS[-6:])},
    ])  # fmt: skip
    if random.random() < 0.5:
        words = [*("-m", model, "-d", "tiny", f"--data_path={folder / 'data'}", "--epochs=1")]
        words += ["--threshold={'rating': 3}", "--load_col={'inter': ['user_id', 'item_id', 'rating']}"]
        return of_words(folder, [*words, *(f"--{key}={found}" for key, found in given.items())], whole=True)
    options = {**tiny_runs.options(folder / "data", "FM"), **given}

    def call() -> Any:
        return tiny_runs.run(model, {**options, "epochs": 1})

    return Trial(f"{model} {given}", call)
