"""Whether losses fall where a quadratic function of the rows says that they do.

A network bends where its rows go far, and what was chosen by its derivatives may be worth nothing there. So some
interactions are run through the model with what was chosen, before it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from ...evidence.codebook import Codebook
from ...evidence.grouping import Chunk
from ...evidence.objective import Objective

# Interactions that are run through the model.
MAX_INTERACTIONS = 1 << 11


@torch.no_grad()
def tried(
    objective: Objective, levels: Sequence[Codebook], clusters: Sequence[Tensor], chunk: Chunk
) -> tuple[float, float]:
    """Summed loss of the chunk's first interactions, as the model is and as it would be.

    Args:
        objective: the training loss.
        levels: as they would be.
        clusters: for each level, what each view of the chunk's entities would have, shape ``(E, F + 1)``.
        chunk: entities with all of their interactions.
    """
    some = chunk.interactions[:MAX_INTERACTIONS]
    number = int(chunk.owner[len(some) - 1]) + 1
    targets, weights = objective.targets(some), objective.weights(some)

    def loss() -> float:
        return float((weights * objective.loss(objective.outputs(some), targets)).double().sum())

    before = loss()
    with ExitStack() as stack:
        for level, chosen in zip(levels, clusters):
            stack.enter_context(level.provisionally(chunk.entities[:number], chosen[:number]))
        return before, loss()
