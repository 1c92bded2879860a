"""Split clusters in two along the first principal component of their members' gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..embedding.assignment import ClusterAssignment
from ..embedding.clustered import ClusteredEmbedding
from .cross_fitting import Views, dense
from .gpca import Cuts, fit_cuts
from .grouping import InteractionsByEntity
from .objective import Objective, loss_slope
from .probe import Probe, probe_chunk
from .reassignment import Level
from .split_gain import SplitGain

# Bounds of memory, not of accuracy: interactions in one pass through the model, and numbers (float64) in the
# gradients and in the covariances held at once. A cluster with more members than fit finds its cut from a random
# sample of that many.
MAX_INTERACTIONS = 1 << 13
MAX_NUMBERS = 1 << 21


class Proposal(NamedTuple):
    """How every cluster of a field would be cut, found in one pass over its interactions.

    Attributes:
        beyond: shape ``(N, V)``, bool, entities beyond their cluster's cut, by each view of their interactions
            (without each fold, and with all; with all, too, where there are none in the fold).
        evident: shape ``(N, V)``, bool, entities with interactions in the view.
        interactions: shape ``(K,)``, number of interactions of each cluster that was looked at.
        loss: shape ``(K,)``, summed training loss of these.
        gradient_norm: shape ``(K,)``, summed over members, the norm of each one's own gradient.
        gain: shape ``(K,)``, expected fall of the summed loss (see ``split_gain.py``); None if not asked for.
    """

    beyond: Tensor
    evident: Tensor
    interactions: Tensor
    loss: Tensor
    gradient_norm: Tensor
    gain: Tensor | None


class Gradients(NamedTuple):
    """What cuts some entities, in each view of their interactions, and what the cells of these say of the sides.

    Attributes:
        entities: shape ``(E,)``.
        gradients: shape ``(E, V, D)``, float64, gradient of each view's loss by the entity's own row.
        owner: shape ``(C,)``, entity of each cell.
        fold: shape ``(C,)``, fold of each cell.
        pull: shape ``(C, D)``, float64, gradient of the cell's loss.
        counts: shape ``(C,)``, interactions of each cell.
    """

    entities: Tensor
    gradients: Tensor
    owner: Tensor
    fold: Tensor
    pull: Tensor
    counts: Tensor


class Split(NamedTuple):
    """Clusters that were split: ``children[i]`` took ``moved`` entities over from ``parents[i]``."""

    parents: Tensor
    children: Tensor
    moved: int


def propose_split(
    objective: Objective,
    tables: Sequence[ClusteredEmbedding],
    index: InteractionsByEntity,
    threshold: str,
    generator: torch.Generator,
    *,
    levels: Sequence[Sequence[ClusteredEmbedding]] = (),
    max_members: int | None = None,
    weigh: bool = False,
    seen_before: Probe | None = None,
    advance: Callable[[int], object] = lambda interactions: None,
) -> Proposal:
    """Cut every cluster that has two members with interactions; each interaction is visited once.

    Args:
        objective: the training loss.
        tables: the tables that share the field's assignment.
        index: the field's interactions.
        threshold: see :func:`~.gpca.fit_cuts`.
        generator: draws the sample in clusters of more than ``max_members`` members.
        levels: all levels of the field's embedding, if there are others and the interactions are in folds.
        max_members: members whose gradients are held at once; the default holds 2 million numbers.
        weigh: whether to find the gain of each split.
        seen_before: a probe of all interactions, if there is one already.
        advance: told the number of interactions done, for a progress bar.
    """
    assignment = tables[0].assignment
    width = sum(table.embedding_dim for table in tables)
    num_views = index.num_folds + 1 if index.num_folds > 1 else 1
    max_members = max_members or max(2, MAX_NUMBERS // (width * num_views))
    # Only the gain asks for planes that are blind to a fold.
    planes = num_views if weigh else 1
    max_clusters = max(1, MAX_NUMBERS // (width**2 * planes))
    beyond = torch.zeros(assignment.num_entities, num_views, dtype=torch.bool, device=index.counts.device)
    evident = (index.counts > 0).unsqueeze(1).repeat(1, num_views)
    told, blind = torch.zeros_like(beyond), torch.zeros_like(beyond)
    share = 1.0 - 1.0 / index.num_folds if num_views > 1 else 1.0
    loss = torch.zeros(assignment.max_clusters, dtype=torch.float64, device=beyond.device)
    norm = torch.zeros_like(loss)
    interactions = torch.zeros_like(assignment.members)

    at = [Level(each) for each in levels or [tables]]
    scales = SplitGain(assignment, width) if weigh else None

    def gradients_of(entities: Tensor) -> Iterator[Gradients]:
        for chunk in index.chunks(entities, MAX_INTERACTIONS):
            if seen_before is None:
                seen = probe_chunk(objective, tables, chunk, MAX_INTERACTIONS)
            else:
                seen = seen_before.of(chunk.interactions)
            owner, counts = chunk.entities[chunk.cell_owner], chunk.cell_sizes()
            slope = loss_slope(objective, seen.outputs, seen.targets).unsqueeze(1)
            pull = chunk.sum_by_cell((slope * seen.jacobian).double())
            if num_views > 1:
                views = Views(objective, at, chunk, seen)
                gradients = dense(chunk, views.gradients.double())
                evident[owner, chunk.cell_fold] = views.evidence[: len(owner)] > 0
            else:
                gradients = chunk.sum_by_entity((slope * seen.jacobian).double()).unsqueeze(1)
            if scales is not None:
                scales.see(objective, chunk, seen)
            losses = chunk.sum_by_entity(objective.loss(seen.outputs, seen.targets).double())
            clusters = assignment(chunk.entities)
            loss.index_add_(0, clusters, losses)
            norm.index_add_(0, clusters, gradients[:, -1].norm(dim=1))
            interactions.index_add_(0, clusters, index.counts[chunk.entities])
            advance(len(chunk.interactions))
            yield Gradients(chunk.entities, gradients, owner, chunk.cell_fold, pull, counts)

    def put(found: Gradients, cuts: Cuts, of_cluster: Tensor) -> None:
        groups = by_plane(of_cluster[assignment(found.entities)])
        every = found.gradients.flatten(0, 1)
        # The side is told without the fold, but by the one plane that all say: if each fold had its own, a child
        # would mean another thing to each. The gain is judged by planes that are blind to the fold.
        plane = groups[:, -1:].expand(-1, num_views).flatten()
        told[found.entities] = cuts.beyond(every, plane, share).view(-1, num_views)
        beyond[found.entities] = cuts.beyond(found.gradients[:, -1], groups[:, -1]).unsqueeze(1)
        beyond[found.owner, found.fold] = told[found.owner, found.fold]
        if scales is not None:
            blind[found.entities] = cuts.beyond(every, groups.flatten()).view_as(groups)
            direction = cuts.direction[of_cluster[assignment(found.owner)] * num_views + found.fold]
            side = blind[found.owner, found.fold]
            scales.cut(found.owner, found.fold, found.counts, found.pull, side, direction)

    def by_plane(groups: Tensor) -> Tensor:
        return groups.unsqueeze(1) * planes + torch.arange(planes, device=groups.device)

    for members, sample in _batches(assignment, index, max_members, max_clusters, generator):
        cutting = Gradients(*(torch.cat(parts) for parts in zip(*gradients_of(members[:sample]))))
        present, groups = assignment(cutting.entities).unique_consecutive(return_inverse=True)
        of_cluster = torch.zeros_like(assignment.members)
        of_cluster[present] = torch.arange(len(present), device=present.device)
        counts = index.counts[cutting.entities].repeat_interleave(planes)
        every = cutting.gradients[:, -planes:].flatten(0, 1), counts, by_plane(groups).flatten()
        cuts = fit_cuts(*every, len(present) * planes, threshold, planes)
        put(cutting, cuts, of_cluster)
        for rest in gradients_of(members[sample:]):
            put(rest, cuts, of_cluster)
    return Proposal(beyond, evident, interactions, loss, norm, None if scales is None else scales.gains())


def _batches(
    assignment: ClusterAssignment,
    index: InteractionsByEntity,
    max_members: int,
    max_clusters: int,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, int]]:
    """Yield entities, cluster after cluster, and how many of them find the cuts.

    A batch is either at most ``max_clusters`` whole clusters, of fewer than twice ``max_members`` members, which
    all find the cuts;
    or a single larger cluster in random order, of which the first ``max_members`` find it.
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


def apply_split(
    proposal: Proposal,
    tables: Sequence[ClusteredEmbedding],
    index: InteractionsByEntity,
    criterion: str,
    max_splits: int = 0,
    min_gain: float = 0.0,
) -> Split:
    """Split the best clusters by ``criterion`` into the ids that are free, best first, lowest id on a tie.

    Of the two children, the one with fewer interactions takes the new id. Entities without interactions have
    no gradient and stay where they are. Both children start at the parent's row, so no loss changes.
    What was assigned without a fold goes to the side that the other folds say; where it is another cluster than
    the entity's own, it stays for the next reassignment.

    Args:
        proposal: where to cut.
        tables: the tables that share the field's assignment.
        index: the field's interactions.
        criterion: ``interactions``, ``members``, ``loss``, ``mean_loss`` or ``gradient_norm``.
        max_splits: at most so many splits; 0 means as many as there are free ids.
        min_gain: clusters whose split gains no more than this stay whole; 0 splits whatever can be split.
    """
    assignment = tables[0].assignment
    num_clusters = assignment.max_clusters
    entities = index.counts.nonzero().squeeze(1)
    clusters, counts = assignment(entities), index.counts[entities]
    beyond = proposal.beyond[entities, -1]

    interactions = proposal.interactions
    far = torch.zeros_like(interactions).index_add_(0, clusters, counts * beyond)
    scores = {
        "interactions": interactions,
        "members": assignment.members,
        "loss": proposal.loss,
        "mean_loss": proposal.loss / interactions.clamp(min=1),
        "gradient_norm": proposal.gradient_norm,
    }[criterion]
    # Every entity counted has an interaction, so both sides have members exactly if both have interactions.
    sides = (far > 0) & (far < interactions)
    if min_gain > 0:
        assert proposal.gain is not None
        sides &= proposal.gain > min_gain
    splittable = sides.nonzero().squeeze(1)
    free = (assignment.members == 0).nonzero().squeeze(1)
    number = min(len(splittable), len(free), max_splits or num_clusters)
    parents = splittable[scores[splittable].argsort(descending=True, stable=True)[:number]]
    children = free[:number]

    child_of = torch.full_like(assignment.members, -1)
    child_of[parents] = children
    flip = far > interactions - far
    told = assignment.views(entities)
    moving = (proposal.beyond[entities] ^ flip[clusters].unsqueeze(1)) & proposal.evident[entities]
    moving &= (told == clusters.unsqueeze(1)) & (child_of[clusters] >= 0).unsqueeze(1)
    changed = moving.any(dim=1)
    told = torch.where(moving, child_of[clusters].unsqueeze(1), told)
    assignment.move(entities[changed], told[changed])
    with torch.no_grad():
        for table in tables:
            table.weight[children] = table.weight[parents]
    return Split(parents, children, int(moving[:, -1].sum()))
