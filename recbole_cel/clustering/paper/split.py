"""Split clusters in two, by default along the first principal component of their members' gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...embedding.assignment import ClusterAssignment
from ...embedding.clustered import ClusteredEmbedding
from ...evidence.bounds import at_once
from ...evidence.grouping import InteractionsByEntity
from ...evidence.objective import Objective, loss_slope
from ...evidence.probe import probe_chunk
from .sides import cuts_by, features_of

# Bounds of memory, not of accuracy: interactions in one pass through the model, and numbers (float64) in the
# gradients and in the covariances held at once. A cluster with more members than fit finds its cut from a random
# sample of that many.
MAX_INTERACTIONS = 1 << 13
MAX_NUMBERS = 1 << 21


class Proposal(NamedTuple):
    """How every cluster of a field would be cut, found in one pass over its interactions.

    Attributes:
        beyond: shape ``(N,)``, bool, entities beyond their cluster's cut.
        interactions: shape ``(K,)``, interactions of each cluster that was looked at; negatives that are drawn
            several times count for less than one each.
        loss: shape ``(K,)``, summed training loss of these.
        gradient_norm: shape ``(K,)``, summed over members, the norm of each one's own gradient.
    """

    beyond: Tensor
    interactions: Tensor
    loss: Tensor
    gradient_norm: Tensor


class Split(NamedTuple):
    """Clusters to split: ``children[i]`` takes entities over from ``parents[i]``, ``moved`` in all.

    ``write`` has it done.
    """

    parents: Tensor
    children: Tensor
    moved: int
    write: Callable[[], None]


def propose_split(
    objective: Objective,
    tables: Sequence[ClusteredEmbedding],
    index: InteractionsByEntity,
    threshold: str,
    generator: torch.Generator,
    *,
    by: str = "gradients",
    max_members: int | None = None,
    advance: Callable[[int], object] = lambda interactions: None,
) -> Proposal:
    """Cut every cluster that has two members with interactions; each interaction is visited once.

    Args:
        objective: the training loss.
        tables: the tables that share the field's assignment.
        index: the field's interactions.
        threshold: see :func:`~.gpca.fit_cuts`.
        generator: draws the sample in clusters of more than ``max_members`` members, and random sides.
        by: what clusters are cut by, see :func:`~.sides.features_of`.
        max_members: members whose gradients are held at once; the default holds 2 million numbers.
        advance: called with the number of interactions done, for a progress bar.
    """
    assignment = tables[0].assignment
    width = sum(table.embedding_dim for table in tables)
    max_members = max_members or max(2, MAX_NUMBERS // width)
    max_clusters = max(1, MAX_NUMBERS // width**2)
    beyond = torch.zeros(assignment.num_entities, dtype=torch.bool, device=index.counts.device)
    in_one_pass = at_once(MAX_INTERACTIONS, beyond.device)
    loss = torch.zeros(assignment.max_clusters, dtype=torch.float64, device=beyond.device)
    norm = torch.zeros_like(loss)
    interactions = torch.zeros_like(loss)
    drawn = loss.new_zeros(0)
    if by == "random":
        drawn = torch.rand(assignment.num_entities, generator=generator, dtype=loss.dtype).to(loss.device)

    def features(entities: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for chunk in index.chunks(entities, in_one_pass):
            seen = probe_chunk(objective, tables, chunk, in_one_pass)
            slope = (seen.weights * loss_slope(objective, seen.outputs, seen.targets)).unsqueeze(1)
            gradients = chunk.sum_by_entity((slope * seen.jacobian).double())
            losses = chunk.sum_by_entity((seen.weights * objective.loss(seen.outputs, seen.targets)).double())
            counts = chunk.sum_by_entity(seen.weights.double())
            clusters = assignment(chunk.entities)
            loss.index_add_(0, clusters, losses)
            norm.index_add_(0, clusters, gradients.norm(dim=1))
            interactions.index_add_(0, clusters, counts)
            advance(len(chunk.interactions))
            chance = drawn[chunk.entities] if by == "random" else drawn
            yield chunk.entities, features_of(by, gradients, losses, counts, chance)

    for members, sample in _batches(assignment, index, max_members, max_clusters, generator):
        cutting, seen_by = (torch.cat(parts) for parts in zip(*features(members[:sample])))
        present, groups = assignment(cutting).unique_consecutive(return_inverse=True)
        of_cluster = torch.zeros_like(assignment.members)
        of_cluster[present] = torch.arange(len(present), device=present.device)
        cuts = cuts_by(by, seen_by, index.counts[cutting], groups, len(present), threshold)
        beyond[cutting] = cuts.beyond(seen_by, groups)
        for rest, seen_by in features(members[sample:]):
            beyond[rest] = cuts.beyond(seen_by, of_cluster[assignment(rest)])
    return Proposal(beyond, interactions, loss, norm)


def _batches(
    assignment: ClusterAssignment,
    index: InteractionsByEntity,
    max_members: int,
    max_clusters: int,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, int]]:
    """Yield entities, cluster after cluster, and how many of them find the cuts.

    A batch is either at most ``max_clusters`` whole clusters, of fewer than twice ``max_members`` members, which
    all find the cuts, or a single larger cluster in random order, of which the first ``max_members`` find it.
    """
    entities = index.counts.nonzero().squeeze(1)
    active = torch.bincount(assignment(entities), minlength=assignment.max_clusters)
    entities = entities[active[assignment(entities)] >= 2]
    if not len(entities):
        return
    if int(active.max()) > max_members:
        shuffle = torch.randperm(len(entities), generator=generator).to(entities.device)
        entities = entities[shuffle]
    entities = entities[assignment(entities).argsort(stable=True)]
    sizes = active[active >= 2]
    starts = sizes.cumsum(0) - sizes
    large = sizes > max_members
    opens = torch.ones_like(large)
    opens[1:] = (starts[1:] // max_members != starts[:-1] // max_members) | large[1:] | large[:-1]
    opens[::max_clusters] = True
    bounds = [*starts[opens].tolist(), len(entities)]
    for (first, last), single in zip(zip(bounds, bounds[1:]), large[opens].tolist()):
        yield entities[first:last], max_members if single else last - first


def choose_split(
    proposal: Proposal,
    tables: Sequence[ClusteredEmbedding],
    index: InteractionsByEntity,
    criterion: str,
    max_splits: int = 0,
) -> Split:
    """Choose clusters by ``criterion`` to split into the ids that are free, best first, lowest id on a tie.

    Of the two children, the one with fewer interactions takes the new id. Entities without interactions have
    no gradient and stay where they are. Both children start at the parent's row, so no loss changes.

    Args:
        proposal: where to cut.
        tables: the tables that share the field's assignment.
        index: the field's interactions.
        criterion: ``interactions``, ``members``, ``loss``, ``mean_loss`` or ``gradient_norm``.
        max_splits: at most so many splits; 0 means as many as there are free ids.
    """
    assignment = tables[0].assignment
    num_clusters = assignment.max_clusters
    entities = index.counts.nonzero().squeeze(1)
    clusters, counts = assignment(entities), index.counts[entities]
    beyond = proposal.beyond[entities]

    total = torch.zeros_like(assignment.members).index_add_(0, clusters, counts)
    far = torch.zeros_like(total).index_add_(0, clusters, counts * beyond)
    scores = {
        "interactions": proposal.interactions,
        "members": assignment.members,
        "loss": proposal.loss,
        "mean_loss": proposal.loss / proposal.interactions.clamp(min=torch.finfo(torch.float64).tiny),
        "gradient_norm": proposal.gradient_norm,
    }[criterion]
    # Every entity counted has an interaction, so both sides have members exactly if both have interactions.
    splittable = ((far > 0) & (far < total)).nonzero().squeeze(1)
    free = (~assignment.occupied).nonzero().squeeze(1)
    number = min(len(splittable), len(free), max_splits or num_clusters)
    parents = splittable[scores[splittable].argsort(descending=True, stable=True)[:number]]
    children = free[:number]

    child_of = torch.full_like(assignment.members, -1)
    child_of[parents] = children
    flip = far > total - far
    moving = (beyond ^ flip[clusters]) & (child_of[clusters] >= 0)
    movers, targets = entities[moving], child_of[clusters[moving]]

    def write() -> None:
        assignment.move(movers, targets)
        with torch.no_grad():
            for table in tables:
                table.weight[children] = table.weight[parents]

    return Split(parents, children, len(movers), write)
