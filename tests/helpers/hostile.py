"""What a stranger may write into a checkpoint: changes of its content, each with a digest that is right."""

from __future__ import annotations

import math

import torch

from recbole_cel.runs import checkpoint as checkpoints


def forge(file, state):
    """Write ``state`` with a digest that is right, as anybody can."""
    content = {"format": checkpoints.FORMAT, "digest": checkpoints.digest(state), "content": state}
    torch.save(content, file)


def set_in(*path):
    """A change of the value at ``path``; the last of ``path`` is the new value."""
    *keys, last, value = path

    def change(state):
        for key in keys:
            state = state[key]
        state[last] = value(state[last]) if callable(value) else value

    return change


def drop(*path):
    *keys, last = path

    def change(state):
        for key in keys:
            state = state[key]
        del state[last]

    return change


def first_moment(name, value):
    def change(state):
        moments = state["optimizer"]["state"]
        moments[0][name] = value(moments[0][name])

    return change


def byte_of_torch_state(where, value):
    def change(state):
        state["random"]["torch"] = state["random"]["torch"].clone()
        state["random"]["torch"][where] = value

    return change


def clusters_out_of_range(state):
    name = next(name for name in state["state_dict"] if name.endswith("codes.words"))
    state["state_dict"][name] = torch.full_like(state["state_dict"][name], 200)


def clusters_of_two_kinds(state):
    """Two names of the same codes, each with other codes that are right."""
    one, other = [name for name in state["state_dict"] if name.endswith("own.user_id.assignment.codes.words")]
    state["state_dict"][one] = torch.zeros_like(state["state_dict"][one])
    state["state_dict"][other] = torch.ones_like(state["state_dict"][other])


def nan_in_rows(state):
    name = next(name for name in state["state_dict"] if name.endswith("weight"))
    state["state_dict"][name][0, 0] = math.nan


CODE = "__import__('pathlib').Path('ran').touch()"

OF_LOADING = {
    "code as teacher": lambda s: (s.update(model="KD_DAGFM"), s["config"].update(teacher=CODE)),
    "code as a key": set_in("config", "teacher", CODE),
    "model with a pickle": set_in("model", "LDiffRec"),
    "model that is a path": set_in("model", "../../x"),
    "model that is code": set_in("model", CODE),
    "model that is a class of another library": set_in("model", "os.system"),
    "a library's own model": set_in("model", "XGBoost"),
    "an unknown model": set_in("model", "FN_CEL"),
    "no model": drop("model"),
    "a model that is a number": set_in("model", 3),
    "local_rank": set_in("config", "local_rank", 1),
    "ip": set_in("config", "ip", "192.0.2.1"),
    "port": set_in("config", "port", "80"),
    "worker": set_in("config", "worker", 64),
    "gpu_id": set_in("config", "gpu_id", "7"),
    "checkpoint_dir": set_in("config", "checkpoint_dir", "/tmp/elsewhere"),
    "data_path among the options": set_in("config", "data_path", "/etc"),
    "dataset_save_path": set_in("config", "dataset_save_path", "evil.pth"),
    "save_dataset": set_in("config", "save_dataset", True),
    "log_wandb": set_in("config", "log_wandb", True),
    "url": set_in("config", "url", "http://192.0.2.1/"),
    "an unknown key": set_in("config", "whatever", 1),
    "a key that is no string": set_in("config", 3, 1),
    "dataset with dots": set_in("config", "dataset", "../tiny"),
    "dataset with a slash": set_in("config", "dataset", "a/b"),
    "dataset that is absolute": set_in("config", "dataset", "/etc/passwd"),
    "no dataset": drop("config", "dataset"),
    "dataset elsewhere": set_in("config", "dataset", "ml-10m"),
    "feature file elsewhere": set_in("config", "additional_feat_suffix", ["../../x"]),
    "a size that fills the memory": set_in("config", "embedding_size", 10**9),
    "folds that fill the memory": set_in("config", "cel_folds", 10**8),
    "rows that fill the memory": set_in("config", "cel_max_clusters", 10**12),
    "embedding_size of another type": set_in("config", "embedding_size", "4"),
    "learning_rate of another type": set_in("config", "learning_rate", [1]),
    "options that hold many": set_in("config", "metrics", ["AUC"] * 20_000),
    "bad cel option": set_in("config", "cel_folds", 0),
    "config that is a list": set_in("config", [1]),
    "epoch below nought": set_in("epoch", -5),
    "epoch that is a float": set_in("epoch", 1.5),
    "best_file elsewhere": set_in("best_file", "../x.pth"),
    "best score that is no number": set_in("best_valid_score", math.nan),
    "results by number": set_in("best_valid_result", {3: "x"}),
    "losses that are text": set_in("train_loss", {0: "x"}),
    "no digest of the data": drop("dataset", "digest"),
    "other data": set_in("dataset", "digest", "0" * 64),
    "sizes that are tensors": set_in("dataset", "sizes", "user_id", torch.zeros(4)),
    "sizes that are text": set_in("dataset", "sizes", "user_id", "61"),
    "sizes by number": set_in("dataset", "sizes", 3, 61),
    "other evaluation": set_in("dataset", "evaluated", "0" * 64),
    "tensors by number": set_in("state_dict", {0: torch.zeros(1)}),
    "a tensor less": lambda s: s["state_dict"].popitem(),
    "clusters out of range": clusters_out_of_range,
    "codes of another shape": lambda s: s["state_dict"].update(
        {name: value[:, :-1] for name, value in s["state_dict"].items() if name.endswith("words")}
    ),
    "codes of another type": lambda s: s["state_dict"].update(
        {name: value.long() for name, value in s["state_dict"].items() if name.endswith("words")}
    ),
    "one name's codes are not another's": clusters_of_two_kinds,
    "rows that are no numbers": nan_in_rows,
    "other_parameter of another model": set_in("other_parameter", "x", 1),
}
OF_RESUMING = {
    "moments of another size": first_moment("exp_avg", lambda m: torch.zeros(len(m) + 1, *m.shape[1:])),
    "moments of another type": first_moment("exp_avg", lambda m: m.double()),
    "moments that are no numbers": first_moment("exp_avg", lambda m: m * math.nan),
    "negative squares": first_moment("exp_avg_sq", lambda m: m - 1),
    "moments that are text": first_moment("exp_avg", lambda m: "x"),
    "steps below nought": first_moment("step", lambda m: m - 1e6),
    "steps of many": first_moment("step", lambda m: torch.zeros(3)),
    "unknown moments": lambda s: s["optimizer"]["state"][0].update(other=torch.zeros(1)),
    "moments of no parameter": lambda s: s["optimizer"]["state"].update({99: s["optimizer"]["state"][0]}),
    "moments missing": lambda s: s["optimizer"]["state"][0].pop("exp_avg"),
    "no moments": set_in("optimizer", "state", {}),
    "no groups": drop("optimizer", "param_groups"),
    "groups of other parameters": set_in("optimizer", "param_groups", 0, "params", [0, 0, 0]),
    "python position": set_in("random", "python", 1, 624, 2**31),
    "python words": set_in("random", "python", 1, 0, -1),
    "python short": set_in("random", "python", 1, [1, 2]),
    "numpy position": set_in("random", "numpy", 2, 10**9),
    "numpy position below nought": set_in("random", "numpy", 2, -7),
    "numpy words": set_in("random", "numpy", 1, torch.zeros(3, dtype=torch.int64)),
    "numpy flag that is a tensor": set_in("random", "numpy", 3, torch.zeros(0)),
    "numpy name": set_in("random", "numpy", 0, "PCG64"),
    "torch short": set_in("random", "torch", torch.zeros(8, dtype=torch.uint8)),
    "torch position": byte_of_torch_state(slice(16, 24), 255),
    "torch left": byte_of_torch_state(slice(8, 12), 127),
    "torch words": byte_of_torch_state(slice(24, 32), 255),
    "torch empty": set_in("random", "torch", torch.zeros(5056, dtype=torch.uint8)),
    "random of nothing": set_in("random", {}),
    "shuffle of nothing": set_in("shuffle", []),
    "shuffle of text": set_in("shuffle", ["x"]),
    "shuffle position": set_in("shuffle", [torch.full((5056,), 255, dtype=torch.uint8)]),
    "strategy of nothing": set_in("strategy", None),
    "strategy of other fields": set_in("strategy", "growths", {"x": 1}),
    "strategy's steps": set_in("strategy", "steps", -1),
    "strategy's steps as text": set_in("strategy", "steps", "1"),
    "strategy's growths that never end": set_in("strategy", "growths", lambda g: dict.fromkeys(g, 10**30)),
}
