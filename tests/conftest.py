"""Tests run side by side, and of tests with many slow variants the first are run by default."""

import os
from collections import Counter

import pytest
import torch

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    # Each process keeps to its share of the cores, and so do those that it starts.
    share = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    torch.set_num_threads(share)
    os.environ["OMP_NUM_THREADS"] = str(share)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark all but the first n variants of a test marked ``quick(n)`` as slow."""
    seen = Counter()
    for item in items:
        mark = item.get_closest_marker("quick")
        if mark is None:
            continue
        name = item.nodeid.split("[")[0]
        seen[name] += 1
        if seen[name] > mark.args[0]:
            item.add_marker(pytest.mark.slow)
