import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "memory.py"


def test_no_full_table_is_made_while_a_model_is_built():
    """10,000,000 users and 1,000,000 items, d = 16: the full tables would take 748 MB."""
    output = subprocess.run(
        [sys.executable, str(SCRIPT), "--models", "DeepFM_CEL", "--json"], check=True, capture_output=True
    )
    assert json.loads(output.stdout)["DeepFM_CEL"] < 150
