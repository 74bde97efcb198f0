"""The Triton kernels, which lie in the clone's top-level `kernels/`.

An installed package has them here, in place of this file (`package-dir` in pyproject.toml): it is
for imports from the clone's own tree, such as those of editable installs and of
`python -m clmer.train` in the root.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[2] / "kernels")]
