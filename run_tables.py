"""Make tables of many runs: ``python run_tables.py TABLE... [--quick]``; ``--list`` shows which there are."""

import sys

from recbole_cel.tables.command import main

if __name__ == "__main__":
    sys.exit(main())
