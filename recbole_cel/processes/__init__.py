"""Several processes that train one model together."""

from .group import Group, current, first_before_others, told_by_first
from .launch import launch

__all__ = ["Group", "current", "first_before_others", "launch", "told_by_first"]
