"""Which trainer a model has."""

from __future__ import annotations

from functools import cache

import recbole.utils
from recbole.trainer import Trainer as RecBoleTrainer
from recbole.utils import ModelType

from ..model import split_name
from ..model.made import make_class
from .trainer import Trainer


@cache
def _with_our_checkpoints(base: type[RecBoleTrainer]) -> type[RecBoleTrainer]:
    body = {"__doc__": base.__doc__, "__module__": __name__}
    made: type[RecBoleTrainer] = make_class(_with_our_checkpoints, (base,), base.__name__, (Trainer, base), body)
    return made


def get_trainer(model_type: ModelType, model_name: str) -> type:
    """The trainer class of a model: RecBole's choice, with our additions where it keeps RecBole's checkpoints."""
    base = recbole.utils.get_trainer(model_type, split_name(model_name)[0])
    if base is RecBoleTrainer:
        return Trainer
    ours = issubclass(base, RecBoleTrainer) and base._save_checkpoint is RecBoleTrainer._save_checkpoint
    return _with_our_checkpoints(base) if ours else base
