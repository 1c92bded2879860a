"""Command line: ``python -m recbole_cel --model=DeepFM_CEL --dataset=ml-100k --key=value ...``."""

from __future__ import annotations

import argparse
import sys
import warnings

from .runs.signals import stoppable


@stoppable()
def main() -> int:
    """Run one experiment; takes the flags of RecBole's ``run_recbole.py`` and any ``--key=value``."""
    parser = argparse.ArgumentParser(
        prog="recbole-cel",
        description="Train and test a RecBole model, with clustered embeddings if its name ends in _CEL.",
        epilog="Any other --key=value sets a RecBole or cel_* option; the README lists the latter.",
    )
    parser.add_argument("--model", "-m", default="DeepFM_CEL", help="name of the model")
    parser.add_argument("--dataset", "-d", default="ml-100k", help="name of the data set")
    parser.add_argument("--config_files", default=None, help="YAML files, separated by spaces")
    parser.add_argument("--nproc", type=int, default=1, help="processes in this group")
    parser.add_argument("--ip", default="localhost", help="address of the master node")
    parser.add_argument("--port", default="5678", help="port of the master node")
    parser.add_argument("--world_size", type=int, default=-1, help="total number of processes")
    parser.add_argument("--group_offset", type=int, default=0, help="rank of this group's first process")
    args, _ = parser.parse_known_args()
    # RecBole and ray speak of their own use of deprecated functions, some of it once an epoch.
    warnings.filterwarnings("ignore", module=r"(recbole|ray)\..*")
    from .options import SettingError

    try:
        from .quick_start import run
        from .runs.checkpoint import CheckpointError
    except ModuleNotFoundError as error:
        if error.name != "recbole":
            raise
        print(error, file=sys.stderr)
        return 2
    try:
        run(
            args.model,
            args.dataset,
            args.config_files.strip().split(" ") if args.config_files else None,
            nproc=args.nproc,
            world_size=args.world_size,
            ip=args.ip,
            port=args.port,
            group_offset=args.group_offset,
        )
    except (SettingError, CheckpointError) as error:
        print(f"recbole_cel: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
