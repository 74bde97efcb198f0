"""`python -m clmer.train deap --synthetic`."""

import sys

from clmer import cli
from clmer.pipeline import ranks

ranks.leave_after(lambda: cli.main(["train", *sys.argv[1:]]))
