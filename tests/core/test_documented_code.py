import doctest
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

import recbole_cel.clustering as clustering
import recbole_cel.clustering.optimiser
import recbole_cel.embedding as embedding
import recbole_cel.embedding.clustered
import recbole_cel.embedding.tables
import recbole_cel.evidence as evidence

EXAMPLE = Path(__file__).parents[2] / "examples" / "plain_pytorch.py"


@pytest.mark.parametrize(
    "module",
    [recbole_cel.embedding.clustered, recbole_cel.embedding.tables, recbole_cel.clustering.optimiser],
)
def test_examples_in_docstrings(module):
    names = {**vars(clustering), **vars(embedding), **vars(evidence), "torch": torch, "nn": nn}
    result = doctest.testmod(module, extraglobs=names)
    assert result.attempted > 0 and result.failed == 0


def test_plain_pytorch_example_learns():
    assert runpy.run_path(str(EXAMPLE))["main"]() > 0.83  # knowing the true groups gives 0.86
