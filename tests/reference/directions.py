"""Directions of a pair of fields, written to be read: dense matrices, one fold and one interaction at a time."""

from __future__ import annotations

import torch


def reference_matrix(left, right, sizes, pull, told):
    """Residuals of the interactions that are told, each over the roots of both entities' regularised activity."""
    activity = [torch.full((size,), float(told.sum()) / size, dtype=torch.float64) for size in sizes]
    for one, other, some in zip(left.tolist(), right.tolist(), told.tolist()):
        activity[0][one] += some
        activity[1][other] += some
    matrix = torch.zeros(sizes, dtype=torch.float64)
    for one, other, value, some in zip(left.tolist(), right.tolist(), pull.tolist(), told.tolist()):
        if some:
            matrix[one, other] += value / (activity[0][one] * activity[1][other]) ** 0.5
    return matrix


def reference_agreement(left, right, sizes, folds, num_folds, residuals_without, number):
    """By how many standard deviations left-out residuals agree with the first ``number`` directions."""
    total, variance = [0.0] * number, [0.0] * number
    for fold in range(num_folds):
        pull = residuals_without(fold).residual.double()
        one, _, other = torch.linalg.svd(reference_matrix(left, right, sizes, pull, folds != fold))
        for interaction in (folds == fold).nonzero().flatten().tolist():
            for direction in range(number):
                sign = one[left[interaction], direction].sign() * other.T[right[interaction], direction].sign()
                total[direction] += float(pull[interaction] * sign)
                variance[direction] += float((pull[interaction] * sign) ** 2)
    return [one / other**0.5 for one, other in zip(total, variance)]


def reference_signs(left, right, sizes, folds, num_folds, residuals_without, number):
    """Signs of the entities of both fields, ``(N, F + 1, number)``, the folds' turned to those with all."""
    pull = residuals_without(None).residual
    one, _, other = torch.linalg.svd(reference_matrix(left, right, sizes, pull, torch.ones_like(folds)))
    whole = torch.cat([one[:, :number], other.T[:, :number]])
    views = []
    for fold in range(num_folds):
        pull = residuals_without(fold).residual
        one, _, other = torch.linalg.svd(reference_matrix(left, right, sizes, pull, folds != fold))
        view = torch.cat([one[:, :number], other.T[:, :number]])
        u, _, v = torch.linalg.svd(view.T @ whole)
        views.append(view @ (u @ v))
    signs = torch.stack([*views, whole], dim=1) > 0
    return signs[: sizes[0]], signs[sizes[0] :]
