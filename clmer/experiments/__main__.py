"""`python -m clmer.experiments`."""

import sys

from clmer.experiments.command import main

if __name__ == "__main__":
    sys.exit(main())
