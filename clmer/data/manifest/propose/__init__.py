"""`clmer manifest`: what a folder holds, and a manifest of it."""

from clmer.data.manifest.propose.build import propose, write
from clmer.data.manifest.propose.screen import screen
from clmer.data.manifest.propose.trials import Proposal

__all__ = ["Proposal", "propose", "screen", "write"]
