import doctest
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import recbole_cel.clustering as clustering
import recbole_cel.clustering.optimiser
import recbole_cel.embedding as embedding
import recbole_cel.embedding.clustered

EXAMPLE = Path(__file__).parents[2] / "examples" / "plain_pytorch.py"


@pytest.mark.parametrize("module", [recbole_cel.embedding.clustered, recbole_cel.clustering.optimiser])
def test_examples_in_docstrings(module):
    names = {**vars(clustering), **vars(embedding), "torch": torch, "nn": nn}
    result = doctest.testmod(module, extraglobs=names)
    assert result.attempted > 0 and result.failed == 0


def test_plain_pytorch_example_learns():
    assert runpy.run_path(str(EXAMPLE))["main"]() > 0.83  # knowing the true groups gives 0.86


def test_the_core_imports_nothing_from_recbole():
    """Checked in a process of its own: the other tests have RecBole loaded already."""
    code = (
        "import sys, recbole_cel.embedding, recbole_cel.clustering, recbole_cel.strategies\n"
        "print([name for name in sys.modules if name == 'recbole' or name.startswith('recbole.')])"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"
    package = Path(clustering.__file__).parents[1]
    for file in [*package.glob("embedding/*.py"), *package.glob("clustering/*.py")]:
        lines = file.read_text().splitlines()
        assert not [line for line in lines if "import" in line and "recbole" in line], file
