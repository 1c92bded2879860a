"""Run one experiment: ``python run_recbole_cel.py --model=DeepFM_CEL --dataset=ml-100k --key=value ...``."""

import sys

from recbole_cel.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
