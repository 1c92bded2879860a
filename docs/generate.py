"""Pages of the documentation that are made from the code: ``python docs/generate.py``, or ``--check``."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import first_page
import yaml

from recbole_cel.settings import PREFIX, CELSettings
from recbole_cel.strategies import strategies

Run = dict[str, Any]
FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
RESULTS = ROOT / "benchmarks" / "results"
# Counts of what was broken, and costs as ids become many; the other files hold runs.
FAULTS, SCALE, STEPS = (RESULTS / f"{name}.jsonl" for name in ("faults", "scale", "steps"))
# Runs that had the machine for themselves, so that their seconds can be compared.
TIMED = "whole runs"
# What a protocol is, by the beginning of its name.
PROTOCOLS: dict[str, str] = yaml.safe_load((FOLDER / "protocols.yaml").read_text())
SCALE_COLUMNS = (
    *("ids a field", "interactions", "tables", "d", "step, ms", "epochs", "cluster work: first epoch", "all"),
    *("µs an interaction", "test AUC", "GB", "bytes an id, with Adam's state", "commit"),
)
# What is said elsewhere, or of what was found.
NO_OPTIONS = {
    *("model", "dataset", "seed", "protocol", "program", "commit", "threads", "torch", "python", "data"),
    *("valid", "test", "ratio", "clusters", "seconds", "epochs", "cold", "serving", "training"),
}


def options() -> str:
    """The page of all options."""
    lines = [
        "# Options",
        "",
        "Written by `python docs/generate.py`. All of RecBole's flags, YAML keys and `--key=value` overrides",
        "work, and so do these; a misspelt or ill-valued one is an error that says what would be right, before",
        "any data is loaded. The defaults of the models are in `properties/embedding/cel.yaml` and",
        "`properties/model/*.yaml`.",
        "",
        "| key | default | meaning |",
        "| --- | --- | --- |",
        "| `embedding_strategy` | of the model's name | what takes the place of full tables: "
        + ", ".join(f"`{name}`" for name in sorted(strategies()))
        + " |",
        "| `embedding_budget` | `None` | how large the tables of all fields may be, for any strategy: `20x` (so "
        "many times fewer parameters), `64 rows` (of each table), `100000 parameters`, `2 MB` (bytes in "
        "serving), `2 MB training`, `20x serving`, `20x training` (so many times fewer bytes) |",
        *(
            f"| `{PREFIX}{spec.name}` | `{spec.default}` | {spec.metadata['help']} |"
            for spec in fields(CELSettings)
        ),
    ]
    for name, strategy in sorted(strategies().items()):
        lines += [
            f"| `{strategy.prefix}{spec.name}` | `{spec.default}` | {spec.metadata['help']} (`{name}`) |"
            for spec in fields(strategy.Options)
        ]
    return "\n".join(lines) + "\n"


def all_strategies() -> str:
    """The page of all strategies."""
    lines = [
        "| name | suffix | row of id i | stored | while training | source |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, strategy in sorted(strategies().items()):
        row, source, stored, while_training = strategy.about or ("", "", "", "")
        lines.append(f"| `{name}` | `_{strategy.suffix}` | {row} | {stored} | {while_training} | {source} |")
    return (FOLDER / "strategies.in").read_text().replace("TABLE", "\n".join(lines))


def results() -> str:
    """The page of all runs that are kept as data."""
    lines = [
        "# Runs",
        "",
        "Written by `python docs/generate.py` from `benchmarks/results/*.jsonl`, one line a run. Whatever is not",
        "named among the options has its default. Seeds change the split, too; of planted data, each set",
        "(`groups-0` to `groups-4`) is another. Mean and standard deviation over seeds of test metrics; of a",
        "grid, all tries are data, and the one with the best validation metric is shown. `max_epochs` is a limit",
        "that was given; RecBole's is 300.",
        "",
    ]
    files = sorted(file for file in RESULTS.glob("*.jsonl") if file not in (FAULTS, SCALE, STEPS))
    runs = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    for protocol, of_protocol in grouped(runs, lambda run: run["protocol"]):
        metrics, timed = list(of_protocol[0]["test"]), protocol.startswith(TIMED)
        about = next((text for name, text in PROTOCOLS.items() if protocol.startswith(name)), "")
        lines += [
            f"## {protocol}",
            "",
            *([about, ""] if about else []),
            f"| data | model | options | seeds | {' | '.join(metrics)} | epochs | {'seconds | ' * timed}commit |",
        ]
        lines.append("| --- " * (6 + timed + len(metrics)) + "|")
        for dataset, of_dataset in grouped(of_protocol, lambda run: run["dataset"]):
            if len(digests := {run["data"] for run in of_dataset if "data" in run}) > 1:
                raise ValueError(f"{protocol}, {dataset}: runs on different data, {', '.join(sorted(digests))}")
        for (dataset, model, program), tries in grouped(of_protocol, _of_one_model):
            best = max(
                (runs for _, runs in grouped(tries, _options)),
                key=lambda runs: (len({run["seed"] for run in runs}), _mean(runs, "valid", metrics[0])),
            )
            lines.append(
                f"| {dataset} | {model}{f' ({program})' if program else ''} | {_options(best[0])} | "
                + f"{' '.join(str(run['seed']) for run in best)} | "
                + " | ".join(_spread([run["test"][metric] for run in best]) for metric in metrics)
                + f" | {' '.join(str(run['epochs']) for run in best)} | "
                + (f"{' '.join(format(run['seconds'], '.1f') for run in best)} | " if timed else "")
                + f"{' '.join(dict.fromkeys(run.get('commit', 'RecBole') for run in best))} |"
            )
        lines.append("")
    return "\n".join(lines)


def grouped(runs: list[Run], key: Callable[[Run], Any]) -> list[tuple[Any, list[Run]]]:
    """Runs with one key together, in the order of keys."""
    found: dict[Any, list[Run]] = {}
    for run in runs:
        found.setdefault(key(run), []).append(run)
    return sorted(found.items(), key=lambda item: str(item[0]))


def _of_one_model(run: Run) -> tuple[str, str, str]:
    return run["dataset"], run["model"], run.get("program", "")


def _options(run: Run) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(run.items()) if key not in NO_OPTIONS)


def _mean(runs: list[Run], part: str, metric: str) -> float:
    return float(statistics.mean(run[part][metric] for run in runs))


def _spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def faults() -> str:
    """The page of what is promised of bad input, and of how often that was tried."""
    promises = (FOLDER / "reliability.in").read_text()
    if not FAULTS.is_file():
        return promises
    found = json.loads(FAULTS.read_text().splitlines()[-1])
    counts: dict[str, dict[str, int]] = found["counts"]
    outcomes = list(next(iter(counts.values())))
    total = {outcome: sum(of_kind[outcome] for of_kind in counts.values()) for outcome in outcomes}
    own = found["own_words"]
    rows = [(KINDS_OF_FAULTS.get(kind, kind), of_kind, own[kind]) for kind, of_kind in counts.items()]
    rows.append(("all", total, sum(own.values())))
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        "",
        "## Counts",
        "",
        f"`python -m pytest -m faults` on {found['date']}, commit {found['commit']}: {sum(total.values())} trials "
        f"with seeds {', '.join(map(str, found['seeds']))}",
        f"in {found['seconds']} s; {found['kills']} kills, after {found['resumed']} of which the run ended "
        "bit-equal. Python",
        f"{found['python']}, {versions}. \"RecBole's words\": of the lines, those that name an error of RecBole's",
        "own, and where it is, because it is not translated yet.",
        "",
        f"| what is broken | trials | {' | '.join(outcomes)} | RecBole's words |",
        "| --- " * (len(outcomes) + 3) + "|",
        *(f"| {name} | {sum(of_kind.values())} | {_cells(of_kind)} | {words} |" for name, of_kind, words in rows),
    ]
    return promises + "\n".join(lines) + "\n"


ON_A_GPU = """
## On a GPU

`benchmarks/gpu.sh` runs the tests that are marked `cuda` (`python -m pytest -m cuda`; the same tests run on the
CPU by default) and this table on a GPU, in a few minutes. Events look at more at once there, by the size of the
card's memory (`recbole_cel/evidence/bounds.py`); that changes no decision but by rounding. With
`reproducibility: True` numbers are added up in one order, so that the same seed gives the same run on the same
card; an operation of a model that has no such form is named in a warning of PyTorch's."""


def scale() -> str:
    """The page of costs as ids become many."""
    runs = [json.loads(line) for line in SCALE.read_text().splitlines()]
    lines = [
        "# As ids become many",
        "",
        "Written by `python docs/generate.py` from `benchmarks/results/scale.jsonl`, which",
        "`python benchmarks/scale.py --json benchmarks/results/scale.jsonl` adds to: a DeepFM of two fields, Zipf",
        "popularity, planted tastes, batches of 4,096, the same fused Adam for all,",
        f"{runs[0]['threads']} threads. *full* is a row for each id, *hash* 512 rows that ids share by their",
        "number modulo 512, *cel* the defaults, *once an epoch* with `cel_split_interval: 1`",
        "(`properties/cel/large.yaml`), *one level* with `cel_levels: 1`, and *paper* without folds, too.",
        "*Cluster work* is the time of events over that of training steps, in the first",
        "epoch and in all of them: with more epochs it becomes less, for clusters change ever more rarely.",
        "Memory is the largest resident set above the data. Commits were measured on several machines, so compare",
        "times of one commit.",
        "",
        "![Milliseconds of a step, microseconds of an interaction and gigabytes against ids](scale.svg)",
        "",
        "The picture is drawn by `python docs/scale_picture.py`.",
        "",
        f"| {' | '.join(SCALE_COLUMNS)} |",
        "| --- " * len(SCALE_COLUMNS) + "|",
    ]
    for run in sorted(runs, key=lambda one: (one["ids"], one["dim"])):
        training, work = run["training"], run["work"]
        per_step = 1e3 * sum(training) / (run["epochs"] * run["steps"])
        whole = 1e6 * (sum(training) + sum(work)) / (run["epochs"] * run["interactions"])
        shares = f"{work[0] / training[0]:.2f} | {sum(work) / sum(training):.2f}"
        table = run["method"] if _on_cpu(run) else f"{run['method']} (GPU)"
        lines.append(
            f"| {run['ids']:,} | {run['interactions']:,} | {table} | {run['dim']} | "
            f"{per_step:.1f} | {run['epochs']} | {shares} | {whole:.1f} | "
            f"{run['auc']:.4f} | {run['memory'] / 1e9:.2f} | "
            f"{run['bytes'] / (2 * run['ids']):.0f} | {run['commit']} |"
        )
    if all(map(_on_cpu, runs)):
        lines += ["", "There was no machine with a GPU to run this on yet."]
    return "\n".join([*lines, *steps(), ON_A_GPU]) + "\n"


def steps() -> list[str]:
    """What a step costs."""
    runs = [json.loads(line) for line in STEPS.read_text().splitlines()]
    lines = [
        *("", "## A step", ""),
        f"Two fields of {runs[0]['ids']:,} ids, {runs[0]['threads']} threads, all tables in turns, medians of",
        f"{len(runs[0]['rounds'])} rounds: `python benchmarks/step.py --json benchmarks/results/steps.jsonl`.",
        "FM is next to nothing but lookups; DeepFM has a network of three layers of 128. *Evidence* is what",
        "clusters are later chosen by; it is taken in epochs that a choice follows, and comes on top of the step.",
        "",
        "| model | d | tables | step, ms | times faster than full | evidence, ms | commit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in runs:
        lines.append(
            f"| {run['model']} | {run['dim']} | {run['method']} | {run['step']:.2f} | {run['faster']:.1f} | "
            f"{run['evidence']:.2f} | {run['commit']} |"
        )
    return lines


def _on_cpu(run: dict[str, Any]) -> bool:
    return run.get("device", "cpu") == "cpu"


def _cells(of_kind: dict[str, int]) -> str:
    return " | ".join(map(str, of_kind.values()))


KINDS_OF_FAULTS = {
    "options": "options (YAML, dict, command line)",
    "data": "atomic files",
    "checkpoints": "checkpoints",
    "numbers": "scales of features, ratings, rates",
    "kills": "runs that are killed, then resumed",
    "storage": "full disks, locked folders",
    "together": "runs at once in one folder",
}
PAGES = {
    "docs/options.md": options,
    "docs/reliability.md": faults,
    "docs/runs.md": results,
    "docs/scale.md": scale,
    "docs/strategies.md": all_strategies,
    "README.md": first_page.page,
}


def main() -> int:
    """Write the pages, or say which differ."""
    differing = [name for name, page in PAGES.items() if not _is(ROOT / name, page())]
    if "--check" in sys.argv[1:]:
        print("\n".join(f"{name} is out of date: python docs/generate.py" for name in differing))
        return 1 if differing else 0
    for name in differing:
        (ROOT / name).write_text(PAGES[name]())
    return 0


def _is(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
