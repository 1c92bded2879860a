#!/usr/bin/env bash
# All that needs a GPU, in a few minutes: the tests marked cuda, then what events and steps cost there.
#
#     benchmarks/gpu.sh [FILE]
#
# needs a checkout and an environment with PyTorch for CUDA and what the README installs; nothing is downloaded.
# Lines are added to FILE (default: gpu.jsonl), as those of benchmarks/results/scale.jsonl.
set -euo pipefail
lines=$(realpath "${1:-gpu.jsonl}")
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
# Where setting up PyTorch takes longer than the tests, several processes are no faster.
python -m pytest -n 0 -m cuda tests/devices
python benchmarks/scale.py --device cuda --ids 100000 1000000 --epochs 3 --methods full cel "cel, one level" --json "$lines"
