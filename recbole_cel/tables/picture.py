"""Pictures of a table: a metric against bytes, or against an option, one line for each series."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .layout import values_of
from .plan import Outcome
from .spec import SIZES, Table

# Okabe and Ito's colours, which colour-blind readers tell apart, for what is ours and for baselines; the others
# are thin, and told apart by markers and dashes.
STRONG = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#222222", "#e69f00")
THIN = ("#56b4e9", "#8c6d1f", "#777777", "#7a4fa3", "#b5651d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
LABELS = {size: f"kB of the tables in {size}, codes included" for size in SIZES[:2]} | {
    "parameters": "thousands of numbers in the tables"
}
# Series from which a panel is made taller.
CROWDED = 12
MISSING = "pictures need matplotlib; python -m pip install 'recbole-cel[plot]'"


class Point(NamedTuple):
    """Where a row stands: ``x`` is None for a row that has no such value, which is drawn from side to side."""

    x: float | None
    y: float
    error: float


class Style(NamedTuple):
    """How a series is drawn; ``flat`` is the dash of a line from side to side."""

    colour: str
    marker: str
    dash: Any
    flat: Any
    strong: bool


def can_draw() -> bool:
    """Whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def panels(
    table: Table, picture: dict[str, Any], outcomes: Sequence[Outcome]
) -> list[tuple[str, dict[str, Any], dict[str, list[Point]]]]:
    """Title, description and series of each panel that has a point; the outcomes are of one data set."""
    by: str = picture.get("by", "")
    kinds = [kind for kind in dict.fromkeys(o.cell.row.values.get(by) for o in outcomes) if kind is not None]
    found = []
    for kind in kinds or [None]:
        for panel in picture["panels"]:
            of_panel = [
                outcome
                for outcome in outcomes
                if outcome.cell.row.values.get(by) in (kind, None)
                and outcome.cell.row.group in (panel.get("group"), None)
            ]
            series = _series(table, picture, panel, of_panel)
            if any(point.x is not None for points in series.values() for point in points):
                name = outcomes[0].cell.data.name
                title = ", ".join(str(part) for part in (name, kind, panel.get("title")) if part)
                found.append((title, panel, series))
    return found


def _series(
    table: Table, picture: dict[str, Any], panel: dict[str, Any], outcomes: list[Outcome]
) -> dict[str, list[Point]]:
    x: str = panel.get("x") or picture["x"]
    column = table.column(picture["y"])
    found: dict[str, list[Point]] = {}
    for outcome in outcomes:
        values = values_of(outcome, column, outcomes)
        if values is None:
            continue
        place: Any = outcome.cell.row.values.get(x)
        if x in SIZES:
            place = outcome.mean(lambda run: run["size"] and run["size"][x])
            place = place and place / 1000
        at = float(place) if isinstance(place, (int, float)) and not isinstance(place, bool) else None
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
        found.setdefault(outcome.cell.row.series, []).append(Point(at, statistics.mean(values), error))
    return {name: sorted(points, key=lambda point: point.x or 0.0) for name, points in found.items()}


def styles(outcomes: Sequence[Outcome]) -> dict[str, Style]:
    """A style for each series: strong for ours and what is to stand out, or for all if they are few, else thin."""
    kinds: dict[str, tuple[bool, bool]] = {}
    for outcome in outcomes:
        row = outcome.cell.row
        if row.model is not None or row.solver is not None:
            kinds.setdefault(row.series, (row.ours, row.emphasis))
    few = len(kinds) <= len(STRONG)
    found: dict[str, Style] = {}
    counts = {True: 0, False: 0}
    # Ours have the first colours in every picture.
    for name, flags in sorted(kinds.items(), key=lambda item: [not flag for flag in item[1]]):
        strong = few or any(flags)
        number = counts[strong]
        counts[strong] += 1
        colours, start = (STRONG, 0) if strong else (THIN, 4)
        dash = "-" if strong else DASHES[number % len(DASHES)]
        marker, flat = MARKERS[(number + start) % len(MARKERS)], DASHES[1 + number % (len(DASHES) - 1)]
        found[name] = Style(colours[number % len(colours)], marker, dash, flat, strong)
    return found


def draw(table: Table, picture: dict[str, Any], outcomes: Sequence[Outcome], path: Path, text: str) -> list[Path]:
    """Draw a picture as PNG and SVG; gives the files, none if there is nothing to draw.

    Args:
        table: that it is of.
        picture: its description.
        outcomes: all of the table's.
        path: of the files, without what they end in.
        text: that the files keep of where they are from.
    """
    import matplotlib
    from matplotlib.figure import Figure

    found = panels(table, picture, outcomes)
    if not found:
        return []
    matplotlib.rcParams.update(
        {"svg.hashsalt": "recbole_cel", "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 10}
    )
    style = styles(outcomes)
    across = min(2, len(found))
    down = -(-len(found) // across)
    lines = [name for name in style if any(name in series for _, _, series in found)]
    legend_columns = 1 + (len(lines) > 13 * down)
    height = 3.1 if len(lines) <= CROWDED else 3.9
    figure = Figure(figsize=(3.6 * across + 2.2 * legend_columns, height * down + 0.3), layout="constrained")
    for number, (title, panel, series) in enumerate(found, 1):
        axes = figure.add_subplot(down, across, number)
        _draw_panel(axes, series, style, picture.get("log", False))
        axes.set_title(title)
        axes.set_xlabel(panel.get("x_label") or LABELS.get(panel.get("x", "")) or picture["x_label"])
        axes.set_ylabel(picture["y_label"])
    handles = [_handle(name, style[name], found) for name in lines]
    figure.legend(handles=handles, loc="outside right center", fontsize=8, ncols=legend_columns, frameon=False)
    if "title" in picture:
        figure.suptitle(picture["title"], fontsize=11)
    files = [path.with_name(f"{path.name}.{ending}") for ending in ("png", "svg")]
    files[0].parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(files[0], dpi=160, metadata={"Description": text})
    figure.savefig(files[1], metadata={"Date": None, "Description": text})
    return files


def _draw_panel(axes: Any, series: dict[str, list[Point]], style: dict[str, Style], log: bool) -> None:
    for name, points in series.items():
        look = style[name]
        common = {"color": look.colour, "zorder": 3 if look.strong else 2}
        width = 1.9 if look.strong else 1.0
        placed = [point for point in points if point.x is not None]
        for point in points:
            if point.x is None:
                axes.axhline(point.y, linestyle=look.flat, linewidth=width, **common)
        if placed:
            axes.errorbar(
                [point.x for point in placed],
                [point.y for point in placed],
                # Those of many thin lines would hide each other.
                yerr=[point.error for point in placed] if look.strong and any(p.error for p in placed) else None,
                marker=look.marker, markersize=6 if look.strong else 4.5, linewidth=width, capsize=2,
                linestyle=look.dash, **common,
            )  # fmt: skip
    if log:
        _log_axis(axes, [point.x for points in series.values() for point in points if point.x])
    axes.grid(alpha=0.25, linewidth=0.6)


def _log_axis(axes: Any, values: list[float]) -> None:
    """A logarithmic axis with a handful of round numbers, written out."""
    axes.set_xscale("log")
    low, high = min(values), max(values)
    steps = [factor * 10.0**power for power in range(-3, 10) for factor in (1, 2, 5)]
    ticks = [step for step in steps if low / 1.3 <= step <= high * 1.3]
    while len(ticks) > 7:
        ticks = ticks[::2]
    axes.set_xticks(ticks, [f"{tick:,.10g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(low / 1.25, high * 1.25)


def _handle(name: str, look: Style, found: list[tuple[str, dict[str, Any], dict[str, list[Point]]]]) -> Any:
    from matplotlib.lines import Line2D

    points = [point for _, _, series in found for point in series.get(name, [])]
    flat = all(point.x is None for point in points)
    alone = not flat and all(len(series.get(name, [])) <= 1 for _, _, series in found)
    dash = look.flat if flat else look.dash
    return Line2D(
        [], [], color=look.colour, label=name, linewidth=1.9 if look.strong else 1.0,
        linestyle="none" if alone else dash, marker="none" if flat else look.marker,
        markersize=6 if look.strong else 4.5,
    )  # fmt: skip
