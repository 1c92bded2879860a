"""A whole run in one call, as in RecBole's ``quick_start``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from recbole.data.transform import construct_transform
from recbole.utils import get_environment, get_flops, init_seed, set_color

from .config import Config
from .data import fingerprint
from .inputs.last_batch import without_single_rows
from .inputs.prepare import prepare_data
from .model import get_model
from .options import SettingError
from .processes import current, first_before_others, launch
from .runs import checkpoint as checkpoints
from .runs.allowed import check_model, check_saved_config
from .runs.caches import PATHS, SWITCHES, Caches
from .runs.files import check_folders, check_space
from .runs.log import log_folders, start_log
from .runs.names import claim, one_run, unique_file
from .runs.repeatable import be_repeatable
from .runs.report import alike_notes
from .runs.resume import check_dataset, holds_data, load_model_state
from .runs.signals import how_to_resume, resumable
from .runs.size import state_bytes
from .runs.validate import check_parts, largest_size
from .trainer import Trainer, get_trainer

# Each of them loads PyTorch, and all data.
PROCESSES_PER_CORE = 4
# The best model, the state after the last epoch, and either of them while it is written.
FILES_OF_A_RUN = 3


def run(
    model: str,
    dataset: str,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    nproc: int = 1,
    world_size: int = -1,
    ip: str = "localhost",
    port: str = "5678",
    group_offset: int = 0,
) -> dict[str, Any]:
    """As RecBole's ``run``; gives the result of the first process.

    Each of ``nproc`` processes takes its part of every batch; see ``processes``. On several machines,
    ``world_size`` says how many processes there are in all, and ``group_offset`` which is the first here; ``ip``
    and ``port`` are of the machine that has the first of all.

    Raises:
        ChildProcessError: if a process ends before its time; the message says how to go on.
    """
    if nproc == 1 and world_size <= 0:
        return run_recbole_cel(model, dataset, config_file_list, config_dict, saved)
    config = Config(model, dataset, config_file_list, config_dict)
    most = PROCESSES_PER_CORE * (os.cpu_count() or 1)
    if nproc > most:
        raise SettingError("nproc", f"must be at most {most}, {PROCESSES_PER_CORE} for each core, got {nproc}")
    refused = [key for key in (*PATHS, *SWITCHES, "clip_grad_norm", "enable_scaler") if config[key]]
    if refused:
        raise SettingError("nproc", f"and world_size must be left alone with {', '.join(refused)}")
    if not issubclass(get_trainer(config["MODEL_TYPE"], config["model"]), Trainer):
        raise SettingError("nproc", f"must be 1, and world_size -1: {config['model']} has a trainer of its own")
    one = partial(_one_of_several, model, dataset, config_file_list, config_dict, saved)
    try:
        result: dict[str, Any] = launch(one, nproc, world_size, ip, port, group_offset, resumable)
    except ChildProcessError as error:
        raise ChildProcessError(error.errno, f"{error.strerror}; {how_to_resume()}") from None
    return result


def _one_of_several(
    model: str,
    dataset: str,
    config_file_list: list[str] | None,
    config_dict: dict[str, Any] | None,
    saved: bool,
    tell: Callable[[str | None], None],
) -> dict[str, Any]:
    """What each process does."""
    return run_recbole_cel(model, dataset, config_file_list, config_dict, saved, on_resumable=tell)


@one_run()
def run_recbole_cel(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    *,
    on_resumable: Callable[[str | None], None] = resumable,
) -> dict[str, Any]:
    """Train and test a model on a data set.

    Args:
        model: a name such as ``DeepFM_CEL``, or any model of RecBole.
        dataset: name of the data set.
        config_file_list: YAML files.
        config_dict: overrides.
        saved: whether to save the best model, and to test that one.
        on_resumable: called with the file from which the run can be continued once it is there, or None.

    Returns:
        RecBole's result: ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result``, ``test_result``.

    Raises:
        SettingError: at a bad option, or data that no model could be trained on.
        CheckpointError: if ``cel_resume`` names a file that cannot be resumed from.
    """
    # Asked for before PyTorch starts its threads; see the trainer.
    torch.set_flush_denormal(True)
    config = Config(model, dataset, config_file_list, config_dict)
    init_seed(config["seed"], config["reproducibility"])
    be_repeatable(config)
    group = current()
    speaks = group is None or group.first
    if speaks:
        own = {"checkpoint_dir": config["checkpoint_dir"]}
        check_folders({**own, **Caches(config).folders(), **log_folders(config["model"])})
        start_log(config)
    logger = getLogger()
    logger.info(sys.argv)
    logger.info(config)

    with Caches(config) as caches:
        prepared = first_before_others(lambda: prepare_data(config, caches.data_set, caches.splits))
    data, train_data, valid_data, test_data = prepared

    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    recommender = get_model(config["model"], config["task"])(config, train_data._dataset).to(config["device"])
    logger.info(recommender)
    train_data = without_single_rows(config, recommender, train_data)
    flops = get_flops(recommender, data, config["device"], logger, construct_transform(config))
    logger.info(set_color("FLOPs", "blue") + f": {flops}")

    trainer = _trainer_of(config, recommender, (train_data, valid_data, test_data), saved, on_resumable)
    # RecBole leaves it open; trainers of other libraries have none.
    with closing(trainer.tensorboard) if hasattr(trainer, "tensorboard") else nullcontext():
        best_valid_score, best_valid_result = trainer.fit(
            train_data, valid_data, saved=saved, show_progress=speaks and config["show_progress"]
        )
        test_result = trainer.evaluate(
            test_data, load_best_model=saved, show_progress=speaks and config["show_progress"]
        )

    logger.info("The running environment of this training is as follows:\n" + get_environment(config).draw())
    logger.info(set_color("best valid ", "yellow") + f": {best_valid_result}")
    logger.info(set_color("test result", "yellow") + f": {test_result}")
    if isinstance(trainer, Trainer) and test_result:
        logger.info(f"{config['model']} on {config['dataset']}:\n\n{trainer.report(test_result)}\n")
        for note in alike_notes(trainer.sizes()):
            logger.warning(note)
    return {
        "best_valid_score": best_valid_score,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": best_valid_result,
        "test_result": test_result,
    }


def _trainer_of(
    config: Any, model: Any, parts: tuple[Any, Any, Any], saved: bool, on_resumable: Callable[[str | None], None]
) -> Any:
    """The trainer of ``model``, with files of its own; resumed, if that is asked for."""
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    resume, logger = config["cel_resume"], getLogger()
    on_resumable(None)
    if isinstance(trainer, Trainer):
        trainer.attach(*parts)
        if resume:
            trainer.resume_checkpoint(resume)
        if saved and trainer.writes:
            claim(trainer.saved_model_file)
            check_space("checkpoint_dir", config["checkpoint_dir"], FILES_OF_A_RUN * state_bytes(model))
        if saved and trainer.settings.checkpoint_interval:
            on_resumable(trainer.resume_file)
            logger.info(f"If this run is stopped, continue it with --cel_resume={trainer.resume_file}")
    elif resume:
        raise checkpoints.CheckpointError(f"cel_resume: {config['model']} has a trainer that cannot resume")
    else:
        trainer.saved_model_file = unique_file(trainer.saved_model_file)
    return trainer


def load_data_and_model(
    model_file: str, config_dict: dict[str, Any] | None = None
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Load a saved model with the data that it was trained on. No code in the file is run, and nothing is fetched.

    Args:
        model_file: a checkpoint written by this package.
        config_dict: what this machine says, and the file does not: ``data_path``, ``use_gpu`` and the like.
            Without ``data_path`` the data must be where they were, or where RecBole looks for them.

    Returns:
        As RecBole's: config, model (in evaluation mode), data set, and the data loaders of training,
        validation and test.

    Raises:
        CheckpointError: if the file cannot be used, or the data on disk are not those of the checkpoint.
        SettingError: if the data on disk cannot be used. They are not fetched: a file shall not make us connect.
    """
    state = checkpoints.read(model_file)
    check_parts(model_file, state)
    name = check_model(model_file, state["model"])
    saved = check_saved_config(model_file, name, state["config"], largest_size(state["state_dict"]))
    config = _config_of(model_file, state, name, saved, config_dict or {})
    init_seed(config["seed"], config["reproducibility"])
    be_repeatable(config)
    check_folders(log_folders(config["model"]))
    start_log(config)
    logger = getLogger()
    logger.info(config)
    with Caches(config) as caches:
        data, train_data, valid_data, test_data = prepare_data(
            config, caches.data_set, caches.splits, fetched=False
        )
    evaluated = [loader._dataset for loader in (valid_data, test_data)]
    check_dataset(model_file, state["dataset"], fingerprint(train_data._dataset, evaluated))
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"], config["task"])(config, train_data._dataset).to(config["device"])
    load_model_state(model, state, model_file)
    train_data = without_single_rows(config, model, train_data)
    model.eval()
    return config, model, data, train_data, valid_data, test_data


def _config_of(file: str, state: dict[str, Any], model: str, saved: dict[str, Any], own: dict[str, Any]) -> Config:
    """The configuration of a checkpoint; data are read from where they are, and fetched from nowhere."""
    where = {"data_path": state["data_path"]} if holds_data(state["data_path"], saved["dataset"]) else {}
    try:
        config = Config(
            model, saved["dataset"], config_dict={**saved, **where, **own}, command_line=False, saved=True
        )
    except SettingError as error:
        raise checkpoints.CheckpointError(f"{file}: {error}") from None
    folder = Path(config["data_path"])
    if not holds_data(str(folder.parent), folder.name):
        raise checkpoints.CheckpointError(
            f"{file}: its data set {saved['dataset']} is not at {folder}; say where, as in "
            "load_data_and_model(file, {'data_path': ...})"
        )
    return config
