#!/usr/bin/env bash
# All that needs a GPU, in a few minutes: the tests marked cuda, then what events and steps cost there.
#
#     benchmarks/gpu.sh [FILE]
#
# needs a checkout and an environment with PyTorch for CUDA and what the README installs; nothing is downloaded.
# Lines are added to FILE (default: gpu.jsonl), as those of benchmarks/results/scale.jsonl, and those of steps to
# a second file beside it, whose name ends with -steps.jsonl.
set -uo pipefail
lines=$(realpath "${1:-gpu.jsonl}")
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
python -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "PyTorch sees no GPU here")' || exit 1
status=0
# One process: setting up PyTorch takes longer than the tests.
python -m pytest -n 0 -m cuda tests/devices || status=1
scale="python benchmarks/scale.py --device cuda --epochs 3 --json $lines"
$scale --ids 100000 1000000 --methods full cel "cel, once an epoch" "cel, one level" || status=1
$scale --ids 1000000 --methods cel --reproducible || status=1
python benchmarks/step.py --device cuda --json "${lines%.jsonl}-steps.jsonl" || status=1
exit $status
