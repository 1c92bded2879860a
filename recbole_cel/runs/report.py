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
        lines = [
            [
                size.field,
                size.entities,
                "-" if size.clusters is None else size.clusters,
                size.parameters,
                size.full_parameters,
                f"{size.full_parameters / size.parameters:.1f}x",
                byte_text(size.table_bytes),
                byte_text(size.assignment_bytes),
                byte_text(size.optimiser_bytes),
                byte_text(size.full_bytes),
                f"{size.full_bytes / size.total_bytes:.1f}x",
            ]
            for size in sizes
        ]
        numbers = sum(size.parameters for size in sizes)
        full_numbers = sum(size.full_parameters for size in sizes)
        full_bytes = sum(size.full_bytes for size in sizes)
        lines.append(
            [
                "all",
                sum(size.entities for size in sizes),
                "",
                numbers,
                full_numbers,
                f"{full_numbers / numbers:.1f}x",
                byte_text(sum(size.table_bytes for size in sizes)),
                byte_text(sum(size.assignment_bytes for size in sizes)),
                byte_text(sum(size.optimiser_bytes for size in sizes)),
                byte_text(full_bytes),
                f"{full_bytes / sum(size.total_bytes for size in sizes):.1f}x",
            ]
        )
        headers = [
            "size",
            "ids",
            "clusters",
            "parameters",
            "full",
            "smaller",
            "table",
            "assignment",
            "optimiser",
            "full, all",
            "smaller",
        ]
        parts.append("\n".join([tabulate(lines, headers=headers), *alike_notes(sizes)]))
    return "\n\n".join(parts)
