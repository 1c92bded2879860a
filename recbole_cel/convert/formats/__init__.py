"""The raw formats: what their files hold, line by line, and what becomes of it."""

from __future__ import annotations

from . import amazon, movielens
from .base import Format, Part

FORMATS: dict[str, Format] = {**movielens.FORMATS, **amazon.FORMATS}

__all__ = ["FORMATS", "Format", "Part"]
