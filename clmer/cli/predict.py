"""`clmer predict`: what a trained run says of a recording."""

from __future__ import annotations

import argparse
from typing import Any

from clmer.cli.arguments import flags_of
from clmer.cli.options.predict import describe
from clmer.cli.train import set_threads
from clmer.pipeline.presets import known_device
from clmer.predict.command import predict


def run(*, threads: int | None, device: str, **given: Any) -> int:
    """Predict; the exit code."""
    set_threads(threads)
    parser = argparse.ArgumentParser()
    describe(parser)
    return predict(**given, device=known_device(device), flags=flags_of(parser))
