"""Two, four and eight runs of one model, started at once in one folder: does each end as it does alone?

python benchmarks/runs_at_once.py --times 10
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

SCRIPT = Path(__file__).parent.parent / "run_recbole_cel.py"
RATES = (1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3, 8e-3, 1e-2)
TEST = re.compile(r"OrderedDict\((.*?)\)", re.DOTALL)


def start(folder: Path, model: str, rate: float) -> subprocess.Popen[str]:
    """A run of two epochs on ml-100k that writes all its files to ``folder``."""
    options = (f"--model={model}", f"--learning_rate={rate}", "--epochs=2", "--show_progress=False", "--nproc=1")
    command = [sys.executable, str(SCRIPT), *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def outcome(run: subprocess.Popen[str]) -> str:
    """Its metrics as they are printed, or how it failed."""
    text, _ = run.communicate()
    found = TEST.findall(text)
    return "; ".join(found) if run.returncode == 0 and found else f"exit code {run.returncode}: {text[-300:]}"


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="FM_CEL")
    parser.add_argument("--at_once", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--times", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        alone = {}
        for rate in RATES:
            folder = Path(place, f"alone-{rate}")
            folder.mkdir()
            alone[rate] = outcome(start(folder, args.model, rate))
        rows = []
        for number in args.at_once:
            equal = 0
            for time in range(args.times):
                folder = Path(place, f"{number}-{time}")
                folder.mkdir()
                runs = {rate: start(folder, args.model, rate) for rate in RATES[:number]}
                ended = {rate: outcome(run) for rate, run in runs.items()}
                equal += sum(ended[rate] == alone[rate] for rate in runs)
                for rate in runs:
                    if ended[rate] != alone[rate]:
                        print(
                            f"{number} at once, rate {rate}: {ended[rate]}, alone {alone[rate]}", file=sys.stderr
                        )
            rows.append([number, args.times, number * args.times, equal])
    distinct = len(set(alone.values()))
    print(f"{args.model}, {len(RATES)} learning rates, {distinct} different results alone")
    print(tabulate(rows, headers=["at once", "times", "runs", "ended as alone"]))


if __name__ == "__main__":
    main()
