"""How faults in raw files are told: file, line, what is wrong."""

from __future__ import annotations

from ..options import SettingError


def fault(place: str, reason: str, line: int | None = None) -> SettingError:
    """The error that says where in a raw file something is wrong, in one line.

    Args:
        place: the file, as a user knows it.
        reason: what is wrong, and what would be right.
        line: its number, from 1.
    """
    where = place if line is None else f"{place}, line {line}"
    return SettingError(f"{' '.join(where.split())}:", reason)
