import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "memory.py"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["DeepFM_CEL", "MF_CEL"])
def test_no_full_table_is_made_while_a_model_is_built(model):
    """10,000,000 users and 1,000,000 items, d = 16: the full tables would take 748 MB; codes take 330."""
    output = subprocess.run(
        [sys.executable, str(SCRIPT), "--models", model, "--json"], check=True, capture_output=True
    )
    assert json.loads(output.stdout)[model] < 500


@pytest.mark.slow
def test_an_event_takes_few_bytes_an_id():
    """Beyond a constant of some 380 MB: bounds of what is held at once."""
    script = SCRIPT.with_name("event_memory.py")
    output = subprocess.run([sys.executable, str(script), "--json"], check=True, capture_output=True)
    assert json.loads(output.stdout)["bytes_an_id"] <= 64
