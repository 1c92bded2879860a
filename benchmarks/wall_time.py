"""Wall time of whole runs of a model and its clustered form, the same number of epochs, taken in turns.

python benchmarks/wall_time.py --models DeepFM DeepFM_CEL --epochs 20 --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time

from tabulate import tabulate

from recbole_cel.quick_start import run_recbole_cel


def main() -> None:
    """Run the models in turns and print the times and their ratio to the first model's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["DeepFM", "DeepFM_CEL"])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    sys.argv = sys.argv[:1]
    seconds: dict[str, list[float]] = {model: [] for model in args.models}
    with tempfile.TemporaryDirectory() as folder:
        # One more round than is counted: the first finds cold caches.
        for number in range(args.rounds + 1):
            for model in args.models if number % 2 else reversed(args.models):
                options = {
                    "epochs": args.epochs,
                    "stopping_step": args.epochs,
                    "show_progress": False,
                    "state": "ERROR",
                    "checkpoint_dir": folder,
                }
                start = time.perf_counter()
                run_recbole_cel(model, args.dataset, config_dict=options)
                if number:
                    seconds[model].append(time.perf_counter() - start)
    base = seconds[args.models[0]]
    rows = [
        (
            model,
            " ".join(f"{one:.1f}" for one in times),
            f"{statistics.median(a / b for a, b in zip(times, base)):.2f}",
        )
        for model, times in seconds.items()
    ]
    print(f"{args.dataset}, {args.epochs} epochs")
    print(tabulate(rows, headers=["model", "seconds", f"median ratio to {args.models[0]}"]))


if __name__ == "__main__":
    main()
