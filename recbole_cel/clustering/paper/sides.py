"""What clusters are cut by: gradients (GPCA), or what GPCA is to be compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from ..gpca import Cuts, fit_cuts

# Lloyd's iterations of bisecting k-means; they begin at the sides of GPCA.
LLOYD_STEPS = 10


def features_of(by: str, gradients: Tensor, losses: Tensor, counts: Tensor, drawn: Tensor) -> Tensor:
    """What members are cut by, shape ``(M, D)`` or ``(M, 1)``.

    Args:
        by: ``gradients`` or ``kmeans`` (both of gradients), ``loss`` (mean loss), or ``random``.
        gradients: shape ``(M, D)``.
        losses: shape ``(M,)``, summed.
        counts: shape ``(M,)``, how many interactions count.
        drawn: shape ``(M,)``, a number of chance for each.
    """
    if by == "loss":
        return (losses / counts).unsqueeze(1)
    return drawn.unsqueeze(1) if by == "random" else gradients


def cuts_by(
    by: str, features: Tensor, interactions: Tensor, groups: Tensor, num_groups: int, threshold: str
) -> Cuts:
    """The cut of every group; arguments as for :func:`~..gpca.fit_cuts`, and ``by`` as above.

    Bisecting k-means has a threshold of its own: half-way between the means of the two sides.
    """
    cuts = fit_cuts(features, interactions, groups, num_groups, threshold)
    return two_means(cuts, features, groups) if by == "kmeans" else cuts


def two_means(cuts: Cuts, features: Tensor, groups: Tensor) -> Cuts:
    """Lloyd's iterations from the sides of ``cuts``: each member goes to the side with the nearer mean.

    Args:
        cuts: of G groups.
        features: shape ``(M, D)``.
        groups: shape ``(M,)``.
    """
    for _ in range(LLOYD_STEPS):
        side = cuts.beyond(features, groups).long()
        place = 2 * groups + side
        sizes = torch.bincount(place, minlength=2 * len(cuts.mean)).to(features.dtype).unsqueeze(1)
        sums = features.new_zeros(len(sizes), features.shape[1]).index_add_(0, place, features)
        below, above = (sums / sizes.clamp(min=1)).view(len(cuts.mean), 2, -1).unbind(dim=1)
        apart = above - below
        length = apart.norm(dim=1, keepdim=True)
        both = (sizes.view(-1, 2) > 0).all(dim=1) & (length.squeeze(1) > 0)
        direction = torch.where(
            both.unsqueeze(1), apart / length.clamp(min=torch.finfo(apart.dtype).tiny), cuts.direction
        )
        half_way = (((above + below) / 2 - cuts.mean) * direction).sum(dim=1)
        moved = cuts._replace(direction=direction, threshold=torch.where(both, half_way, cuts.threshold))
        if bool((moved.beyond(features, groups).long() == side).all()):
            return moved
        cuts = moved
    return cuts
