"""Training data as the cluster optimisation and the checkpoints need them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from recbole.data.interaction import Interaction, cat_interactions
from torch import Tensor, nn

from .embedding import fold_of
from .embedding.slots import watch_lookups
from .evidence import PointwiseLoss, binary_cross_entropy, squared_error
from .evidence.objective import Meet, evaluating
from .inputs.fast_rows import NUMBER, FastRows
from .inputs.last_batch import BATCH_NORMS
from .options import SettingError
from .processes import current

# Probabilities are turned into logits no nearer to 0 and 1 than this.
PROBABILITY_MARGIN = 1e-6
# Negatives that are drawn for each positive when clusters change, at least, and positives in one draw.
NEGATIVES = 8
BLOCK = 1 << 14
LOSSES: dict[type[nn.Module], PointwiseLoss] = {
    nn.BCEWithLogitsLoss: binary_cross_entropy,
    nn.BCELoss: binary_cross_entropy,
    nn.MSELoss: squared_error,
}
# Models with these give probabilities.
OF_PROBABILITIES = (nn.BCELoss,)


class TrainingObjective:
    """The training loss of a RecBole model, interaction by interaction (see ``clustering.Objective``).

    User and item features are looked up when a batch is made, not copied to every interaction. Where RecBole
    draws negative items, they are drawn anew for each event.

    Args:
        model: a model with an embedding strategy; its ``loss`` says which element-wise loss counts.
        train_data: RecBole's training data loader.
        label_field: name of the target column.

    Raises:
        SettingError: if the model's loss is none that can be taken apart by interactions.
    """

    def __init__(self, model: Any, train_data: Any, label_field: str) -> None:
        loss = LOSSES.get(type(model.loss)) if isinstance(getattr(model, "loss", None), nn.Module) else None
        if loss is None:
            known = ", ".join(kind.__name__ for kind in LOSSES)
            raise SettingError(
                "model", f"{type(model).__name__} has a loss other than {known}; it cannot be clustered"
            )
        self._model = model
        self._train_data = train_data
        self._label_field = label_field
        self._loss = loss
        self._device = model.device
        self._samples_negatives = train_data.neg_sample_args["distribution"] != "none"
        self._drawn: dict[str, Tensor] = {}
        self._features: list[tuple[str, dict[str, Tensor]]] = []
        self._weights = torch.ones(0)
        if not self._samples_negatives:
            dataset = train_data._dataset
            self._drawn = self._to_device(dataset.inter_feat)
            self._weights = torch.ones_like(self._drawn[label_field])
            for key, features in (
                (dataset.uid_field, dataset.user_feat),
                (dataset.iid_field, dataset.item_feat),
            ):
                if features is not None:
                    self._features.append((key, self._to_device(features)))

    @property
    def _columns(self) -> dict[str, Tensor]:
        """All columns of the interactions; negatives are drawn when they are first needed."""
        if not self._drawn:
            self.refresh()
        return self._drawn

    def entities(self, field: str) -> Tensor:
        """Entity id of ``field`` in every interaction, shape ``(n,)``."""
        if field in self._columns:
            return self._columns[field]
        for key, features in self._features:
            if field in features:
                return features[field][self._columns[key]]
        raise KeyError(field)

    def folds(self, num_folds: int) -> Tensor:
        """Fold of every interaction by its ids, shape ``(n,)``."""
        return fold_of([self.entities(name) for name in self._model.fold_fields], num_folds)

    def outputs(self, interactions: Tensor, fold: int | None = None) -> Tensor:
        """Outputs of the model in evaluation mode, shape ``(B,)``; logits where it gives probabilities."""
        batch = {name: column[interactions] for name, column in self._columns.items()}
        for key, features in self._features:
            batch.update({name: column[batch[key]] for name, column in features.items()})
        with evaluating(self._model), self._model.lookups(batch, fold):
            outputs: Tensor = self._model.forward(Interaction(batch))
        probable = isinstance(self._model.loss, OF_PROBABILITIES)
        return outputs.logit(PROBABILITY_MARGIN) if probable else outputs

    def targets(self, interactions: Tensor) -> Tensor:
        """Targets of the numbered interactions, shape ``(B,)``."""
        return self._columns[self._label_field][interactions]

    def weights(self, interactions: Tensor) -> Tensor:
        """One, or less for negatives that are drawn several times, shape ``(B,)``."""
        if not self._drawn:
            self.refresh()
        return self._weights[interactions]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Element-wise loss."""
        return self._loss(outputs, targets)

    @property
    def shared(self) -> bool:
        """Whether other processes train the same model with parts of each batch."""
        return current() is not None

    def add_up(self, values: Tensor) -> Tensor:
        """Add up, in place, what all processes have as ``values``."""
        group = current()
        return values if group is None else group.add(values)

    def watch(self, meet: Meet | None) -> None:
        """Have ``meet`` called in each step of training, if batches can say which interactions they hold.

        Where a model normalises each batch, an output depends on other interactions, and gradients tell of all.
        """
        rows = self._train_data._dataset.inter_feat
        probable = isinstance(self._model.loss, OF_PROBABILITIES)
        mixes = any(isinstance(module, BATCH_NORMS) for module in self._model.modules())
        if self._samples_negatives or probable or mixes or not isinstance(rows, FastRows):
            return
        rows.numbered = meet is not None
        self._model.watched = None if meet is None else partial(_watched, self._model.loss, meet)

    def refresh(self) -> bool:
        """Draw new negatives, if the training uses any: several times as many as a step of training does.

        In the course of training each positive meets many negatives, so those of one draw would say too little.
        """
        if not self._samples_negatives:
            return False
        draws = -(-NEGATIVES // self._train_data.neg_sample_num)
        parts = list[Interaction]()
        for some in torch.arange(len(self._train_data._dataset)).split(BLOCK):
            for draw in range(draws):
                batch = self._train_data.collate_fn(some.numpy())
                # Positives come first.
                parts.append(batch if draw == 0 else batch[len(some) :])
        self._drawn = self._to_device(cat_interactions(parts))
        positive = self._drawn[self._label_field] > 0
        self._weights = torch.where(positive, 1.0, 1.0 / draws)
        return True

    def _to_device(self, interaction: Interaction) -> dict[str, Tensor]:
        return {name: column.to(self._device) for name, column in interaction.interaction.items()}


@contextmanager
def _watched(loss: nn.Module, meet: Meet, batch: Any) -> Iterator[None]:
    """While the loss of ``batch`` is computed: ``meet`` is told what was looked up, and what the loss is given."""
    given = list[Tensor]()
    hook = loss.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        with watch_lookups() as lookups:
            yield
    finally:
        hook.remove()
    if NUMBER in batch and len(given) == 1:
        meet(batch[NUMBER], lookups, given[0])


def training_pairs(dataset: Any, field: str) -> tuple[Tensor, Tensor]:
    """Id of ``field`` in every training interaction, and of the item; for the item field, of the user.

    Returns:
        Two int64 tensors of shape ``(n,)``, on the CPU.
    """
    other = dataset.uid_field if field == dataset.iid_field else dataset.iid_field
    return _ids(dataset, field), _ids(dataset, other)


def _ids(dataset: Any, field: str) -> Tensor:
    interactions = dataset.inter_feat
    if field in interactions:
        ids: Tensor = interactions[field]
        return ids.long()
    for key, features in ((dataset.uid_field, dataset.user_feat), (dataset.iid_field, dataset.item_feat)):
        if features is not None and field in features:
            looked_up: Tensor = features[field][interactions[key]]
            return looked_up.long()
    raise KeyError(field)


def fingerprint(dataset: Any, evaluated: Sequence[Any] = ()) -> dict[str, Any]:
    """What identifies the data that a model was trained on.

    Args:
        dataset: the training data.
        evaluated: the data that it is evaluated on.

    Returns:
        Name, number of ids of every field, number of training interactions, a digest of the ids, the training
        interactions and the side features, and one of the interactions of ``evaluated``. Plain data.
    """
    digest = hashlib.sha256()
    for name, tokens in sorted(dataset.field2id_token.items()):
        digest.update(f"{name}:{len(tokens)};".encode() + "\n".join(map(str, tokens)).encode())
    for features in (dataset.inter_feat, dataset.user_feat, dataset.item_feat):
        _feed(digest, features)
    others = hashlib.sha256()
    for other in evaluated:
        _feed(others, other.inter_feat)
    return {
        "name": str(dataset.dataset_name),
        "sizes": {name: len(tokens) for name, tokens in dataset.field2id_token.items()},
        "interactions": len(dataset),
        "digest": digest.hexdigest(),
        "evaluated": others.hexdigest() if evaluated else "",
    }


def _feed(digest: Any, features: Interaction | None) -> None:
    if features is None:
        return
    for name in sorted(features.interaction):
        column = features.interaction[name].contiguous()
        digest.update(f"{name}:{column.dtype}:{tuple(column.shape)};".encode())
        digest.update(column.view(torch.uint8).numpy())
