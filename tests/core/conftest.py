import sys
from pathlib import Path

# The test modules of this folder share factorisation.py.
sys.path.insert(0, str(Path(__file__).parent))
