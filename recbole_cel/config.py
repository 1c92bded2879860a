"""RecBole's Config, which also knows our models, our properties and our options."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config as RecBoleConfig

from .inputs import command_line, keys, unsafe, yaml_files
from .inputs.plain import literal, must_be
from .inputs.values import check_values
from .metrics import register_metrics
from .model import clustered_fields, full_name, get_model, own_options, split_name, task_of
from .options import SettingError, shown
from .settings import PREFIX, RUN_OPTIONS, CELSettings
from .strategies import EmbeddingStrategy, check_budget, strategies
from .strategies.budget import KEY as BUDGET

# In the folder of properties, what is no options of a run.
TABLES = "tables"


def properties_folder() -> Path:
    """Our property files: inside the package in a wheel, at the top level in a checkout.

    Raises:
        FileNotFoundError: if neither is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "properties", package.parent / "properties"):
        if (folder / "embedding").is_dir():
            return folder
    raise FileNotFoundError(f"properties/ is missing beside or inside {package}; reinstall recbole-cel")


def property_keys() -> set[str]:
    """Names of options in our property files; those of tables hold other keys."""
    folder = properties_folder()
    return keys.keys_of(file for file in folder.rglob("*.yaml") if file.relative_to(folder).parts[0] != TABLES)


class Config(RecBoleConfig):
    """As in RecBole; model names may have a strategy's suffix, and ``cel_*`` keys are checked.

    Settings are read in this order, later ones winning: RecBole's properties of the base model and the data
    set, ``properties/model/<base>.yaml``, ``properties/embedding/<strategy>.yaml``,
    ``properties/task/rating.yaml`` if ratings are predicted, ``properties/model/<model>.yaml``,
    ``properties/<strategy>/implicit.yaml`` if negatives are drawn, config files, ``config_dict``, command line.

    Args:
        model: name or class, as in RecBole.
        dataset: name, as in RecBole.
        config_file_list: YAML files.
        config_dict: overrides.
        command_line: whether ``--key=value`` pairs of the running program count.
        saved: whether the overrides are of a saved run, which has those of all strategies.

    Raises:
        SettingError: at an unknown or ill-valued ``cel_*`` key, task, embedding strategy or model name, a value
            that RecBole would stumble over, and a file or command line that cannot be read.
    """

    def __init__(
        self,
        model: Any = None,
        dataset: str | None = None,
        config_file_list: list[str] | None = None,
        config_dict: dict[str, Any] | None = None,
        *,
        command_line: bool = True,
        saved: bool = False,
    ) -> None:
        self._command_line, self._saved = command_line, saved
        register_metrics()
        super().__init__(model, dataset, config_file_list, config_dict)
        if not self["use_gpu"]:
            # RecBole's own looks at gpu_id only.
            self.final_config_dict["device"] = torch.device("cpu")
        settings = CELSettings.from_config(self.final_config_dict)
        strategy = split_name(self.model)[1]
        if settings.resume is not None and not Path(settings.resume).is_file():
            raise SettingError(f"{PREFIX}resume", f"names {settings.resume}, which is no file")
        if strategy is not None:
            clustered_fields(settings, self)
            # What holds in effect shows in the log and in TensorBoard, and is saved with the model.
            for spec in dataclasses.fields(settings):
                self.final_config_dict.setdefault(PREFIX + spec.name, spec.default)
            options = own_options(strategy, self.final_config_dict)
            for spec in dataclasses.fields(options):
                self.final_config_dict.setdefault(strategy.prefix + spec.name, getattr(options, spec.name))
            self._check_budget()
        self._check_task()
        unsafe.check_files(split_name(self.model)[0], self.final_config_dict)
        self._point_out_unused(strategy)
        self._point_out_unknown()

    def _check_budget(self) -> None:
        self.final_config_dict.setdefault(BUDGET, None)
        if self[BUDGET] is None:
            return
        defaults = {spec.name: spec.default for spec in dataclasses.fields(CELSettings)}
        for name in ("max_clusters", "compression_ratio"):
            # A saved configuration has them all, and the defaults say nothing of sizes.
            if self.external_config_dict.get(PREFIX + name, defaults[name]) != defaults[name]:
                raise SettingError(BUDGET, f"and {PREFIX}{name} exclude each other; set one of them")

    def _point_out_unused(self, strategy: type[EmbeddingStrategy[Any]] | None) -> None:
        if self._saved:
            return
        given = self.external_config_dict
        unused = {key for key in given if key.startswith(PREFIX)}
        unused -= {PREFIX + name for name in RUN_OPTIONS | (strategy.used if strategy else set())}
        for other in strategies().values():
            if other is not strategy and other.prefix:
                unused |= {key for key in given if key.startswith(other.prefix)}
        if strategy is None and given.get(BUDGET) is not None:
            unused.add(BUDGET)
        if unused:
            hint = "" if strategy else f"; use --model={self.model}_CEL"
            getLogger().warning(f"{', '.join(sorted(unused))}: no effect on {self.model}{hint}")

    def _check_task(self) -> None:
        if self["task"] != "rating":
            return
        if self["threshold"]:
            raise SettingError("threshold", "makes labels of the ratings; leave it out where task is rating")
        label, rating = self["LABEL_FIELD"], self["RATING_FIELD"]
        if label != rating:
            raise SettingError(
                "LABEL_FIELD",
                f"must be RATING_FIELD ({rating}), or left out, where ratings are predicted, got {shown(label)}; "
                f"to predict that column, write RATING_FIELD={label}",
            )
        if self["normalize_all"] or self["LABEL_FIELD"] in (self["normalize_field"] or ()):
            raise SettingError("normalize_all", "and normalize_field must leave the ratings as they are")

    def _point_out_unknown(self) -> None:
        if not self.model_class.__module__.startswith((f"{__package__}.", "recbole.")):
            return  # whoever wrote the model knows what it reads
        read = {*self.internal_config_dict, *property_keys()}
        for key, near in keys.unknown_keys(self.external_config_dict, read).items():
            if key in unsafe.PROCESSES:
                getLogger().warning(f"{key}: no effect here; give it on the command line")
                continue
            if split_name(self.model)[1] is not None and keys.is_without_prefix(key, near):
                raise SettingError(key, f"is not an option of {self.model}; did you mean {near}?")
            hint = f"; did you mean {near}?" if near else ""
            getLogger().warning(f"{key}: no option that is known of RecBole or recbole_cel{hint}")

    def _build_yaml_loader(self) -> type[yaml_files.Loader]:
        return yaml_files.Loader

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        return {key: literal(value) if isinstance(value, str) else value for key, value in config_dict.items()}

    def _load_config_files(self, file_list: list[str] | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if isinstance(file_list, (str, os.PathLike)):
            raise must_be("config_files", "a list of names of files", file_list)
        for file in file_list or ():
            options = yaml_files.read(file)
            keys.check_keys(options, "config_files")
            found.update(options)
        return found

    def _load_variable_config_dict(self, config_dict: dict[str, Any] | None) -> dict[str, Any]:
        if config_dict is None:
            return {}
        if not isinstance(config_dict, dict):
            raise must_be("config_dict", "a dict", config_dict)
        keys.check_keys(config_dict, "config_dict")
        for key, value in config_dict.items():
            unsafe.check_bounded(key, value)
        return self._convert_config_dict(config_dict)

    def _load_cmd_line(self) -> dict[str, Any]:
        program, *words = sys.argv or [""]
        if not self._command_line or "ipykernel_launcher" in program:
            return {}
        found = command_line.read_of_any_program(words)
        if found.passed_over:
            getLogger().warning(f"not used of the command line: {' '.join(found.passed_over)}")
        keys.check_keys(found.keys, "the command line")
        return self._convert_config_dict(found.keys)

    def _merge_external_config_dict(self) -> None:
        super()._merge_external_config_dict()
        unsafe.check_given(self.external_config_dict)

    def _get_final_config_dict(self) -> dict[str, Any]:
        final: dict[str, Any] = super()._get_final_config_dict()
        check_values(final, self.external_config_dict, self.internal_config_dict)
        return final

    def _set_default_parameters(self) -> None:
        _in_one_line(super()._set_default_parameters)

    def _get_model_and_dataset(self, model: Any, dataset: str | None) -> tuple[str, type, str]:
        strategy = self.external_config_dict.get("embedding_strategy")
        if model is None:
            model = self.external_config_dict.get("model")
        for name, value in (("model", model), ("dataset", dataset or self.external_config_dict.get("dataset"))):
            if value is None:
                raise SettingError(name, f"must be given, as an argument or as {name}=NAME")
        unsafe.check_names(model, dataset)
        if isinstance(model, str):
            # Checked here already: nothing may be loaded before a wrong key is found.
            CELSettings.from_config(self.external_config_dict)
            if self.external_config_dict.get(BUDGET) is not None:
                check_budget(self.external_config_dict[BUDGET])
            name = full_name(model, strategy)
            named = split_name(name)[1]
            if named is not None:
                own_options(named, self.external_config_dict)
            model_class = get_model(name, self.external_config_dict.get("task"))
            _, _, final_dataset = super()._get_model_and_dataset(model_class, dataset)
            return name, model_class, final_dataset
        if strategy is not None:
            raise SettingError("embedding_strategy", "goes with the name of a model, not with a class")
        found: tuple[str, type, str] = super()._get_model_and_dataset(model, dataset)
        return found

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        base, strategy = split_name(model)
        super()._load_internal_config_dict(base, model_class, dataset)
        task = task_of(model, self.external_config_dict.get("task"))
        files = [f"model/{base}.yaml"]
        if strategy is not None:
            files.append(f"embedding/{strategy.name}.yaml")
        if task == "rating":
            files.append("task/rating.yaml")
        if strategy is not None:
            files.append(f"model/{model}.yaml")
        self._read_properties(files)
        if strategy is not None and self._draws_negatives():
            self._read_properties([f"{strategy.name}/implicit.yaml"])
        self.internal_config_dict["task"] = task
        if task == "rating":
            rating_field = self.external_config_dict.get("RATING_FIELD", self.internal_config_dict["RATING_FIELD"])
            self.internal_config_dict["LABEL_FIELD"] = rating_field
        if strategy is None:
            return
        self.internal_config_dict["embedding_strategy"] = strategy.name

    def _read_properties(self, files: list[str]) -> None:
        for file in files:
            if (properties_folder() / file).is_file():
                self._update_internal_config_dict(str(properties_folder() / file))

    def _draws_negatives(self) -> bool:
        """Whether the training draws negatives for the positives that the data are."""
        key = "train_neg_sample_args"
        drawn = self.external_config_dict.get(key, self.internal_config_dict.get(key))
        return isinstance(drawn, dict) and drawn.get("distribution") not in (None, "none")


def _in_one_line(check: Callable[[], Any]) -> None:
    """Let RecBole check what it knows, and say what it finds as we do.

    Raises:
        SettingError: with RecBole's word.
    """
    try:
        check()
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise SettingError("RecBole", f"does not take this: {' '.join(str(error).split())}") from error
