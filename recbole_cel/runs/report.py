"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from .activity import ActivityRow
from .size import FieldSize


def byte_text(number: float) -> str:
    """``number`` of bytes with a unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def alike_notes(sizes: Sequence[FieldSize]) -> list[str]:
    """A line for each field whose ids all share one row."""
    return [
        f"{size.field}: all {size.entities} ids share one row; nothing was found in the training data that tells "
        "them apart. Are there enough interactions, and has the field anything to do with the labels?"
        for size in sizes
        if size.alike
    ]


def final_report(
    model: str,
    test_result: Mapping[str, float],
    activity: Sequence[ActivityRow],
    sizes: Sequence[FieldSize],
    edges: Sequence[int],
) -> str:
    """Text tables: test metrics, metrics by activity, sizes. Parts without content are left out."""
    parts = [tabulate([[model, *test_result.values()]], headers=["test", *test_result], floatfmt=".4f")]
    if activity:
        parts.append(
            tabulate(
                [[*row[:-1], *row.metrics.values()] for row in activity],
                headers=["by activity", "level", "ids", "interactions", *activity[0].metrics],
                floatfmt=".4f",
                missingval="-",
            )
            + f"\ncold: fewer than {edges[0]} training interactions; warm: {edges[1]} or more"
        )
    if sizes:
        parts.append("\n".join([size_table(sizes), *alike_notes(sizes)]))
    return "\n\n".join(parts)


def size_table(sizes: Sequence[FieldSize]) -> str:
    """Bytes in serving and in training, then numbers, each beside what full tables take."""
    totals = [_numbers(size) for size in sizes]
    lines = [
        [size.field, size.entities, "-" if size.clusters is None else size.clusters, *_cells(numbers)]
        for size, numbers in zip(sizes, totals)
    ]
    whole = [sum(column) for column in zip(*totals)]
    lines.append(["all", sum(size.entities for size in sizes), "", *_cells(whole)])
    headers = ["size", "ids", "clusters"]
    for what in ("serving", "training", "parameters"):
        headers += [what, "full", "smaller"]
    return tabulate(lines, headers=headers, disable_numparse=True)


def _numbers(size: FieldSize) -> list[int]:
    """Bytes in serving and in training and parameters, each followed by those of full tables."""
    bytes_of_both = [size.storage.serving, size.full_serving, size.storage.training, size.full_training]
    return [*bytes_of_both, size.parameters, size.full_parameters]


def _cells(numbers: Sequence[int]) -> list[str]:
    cells = list[str]()
    for place in range(0, len(numbers), 2):
        own, full = numbers[place : place + 2]
        text = str if place == 4 else byte_text  # parameters come last
        cells += [text(own), text(full), f"{full / max(1, own):.1f}x"]
    return cells
