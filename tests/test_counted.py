"""Numbers in sentences."""

from __future__ import annotations

import pytest

from qvl_preflight.counted import counted, verb


@pytest.mark.parametrize(("number", "said"), [(0, "0 shards are"), (1, "1 shard is"), (2, "2 shards are")])
def test_nouns_and_verbs_go_with_their_number(number: int, said: str) -> None:
    """One of something is singular."""
    assert f"{counted(number, 'shard')} {verb(number, 'is', 'are')}" == said
