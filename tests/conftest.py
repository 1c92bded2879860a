"""Tests run side by side: each process keeps to its share of the cores."""

import os

import torch

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    torch.set_num_threads(share)
    # Of the processes that tests start.
    os.environ["OMP_NUM_THREADS"] = str(share)
