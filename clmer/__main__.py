"""`python -m clmer`: the same as the command `clmer`."""

from clmer.cli import script

script()
