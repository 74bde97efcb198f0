"""`python -m clmer.train deap --synthetic`."""

from clmer.cli import script

script("train")
