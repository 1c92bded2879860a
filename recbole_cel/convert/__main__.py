"""Command line: ``python -m recbole_cel.convert FORMAT SOURCE --output FOLDER``."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
