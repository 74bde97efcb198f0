"""Parts of the cells."""

from __future__ import annotations

import pytest

from clmer.errors import ConfigError
from clmer.experiments.shards import Shard


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_shards_are_disjoint_and_complete(count):
    parts = [Shard.parse(f"{i + 1}/{count}", {}).take(range(7)) for i in range(count)]
    assert sorted(cell for part in parts for cell in part) == list(range(7))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_shard_can_follow_from_the_launcher():
    assert Shard.parse("auto", {"RANK": "2", "WORLD_SIZE": "4"}) == Shard(3, 4)
    array = {"SLURM_ARRAY_TASK_ID": "14", "SLURM_ARRAY_TASK_MIN": "10"}
    array |= {"SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_STEP": "2"}
    assert Shard.parse("auto", array) == Shard(3, 3)
    for text in ("auto", "0/2", "3/2", "2", "a/b", "1/2/3"):
        with pytest.raises(ConfigError, match="`shard"):
            Shard.parse(text, {})
