"""Which policy goes with which tables."""

from __future__ import annotations

from collections.abc import Mapping

from .cross_fitted.policy import CrossFittedPolicy
from .paper.policy import PaperPolicy
from .policy import Levels, Policy
from .settings import ClusterSettings


def policy_of(fields: Mapping[str, Levels], settings: ClusterSettings) -> type[Policy]:
    """The policy that goes with the tables: cross-fitted if their assignments have folds.

    Raises:
        ValueError: if some have and others have not, or if settings are of the other policy.
    """
    folds = [levels[0][0].assignment.num_folds for levels in fields.values()]
    if max(folds, default=1) == 1:
        return PaperPolicy
    if min(folds) == 1:
        raise ValueError("either all fields have assignments with folds, or none has")
    settings.check_with_folds(max(folds))
    return CrossFittedPolicy
