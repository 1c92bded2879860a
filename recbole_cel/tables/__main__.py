"""As ``run_tables.py``, where the package is installed: ``python -m recbole_cel.tables TABLE... [--quick]``."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
