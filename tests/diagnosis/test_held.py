"""Failures as people paste them, in held.jsonl: raised on real stacks, or put together from the libraries' raise statements.

Each was written down with its topic before any answer was seen: of the first 111 then 101 came out first (102 under the first three), of the 42 behind
them, written after the misses of those were mended, 39. Of what was learnt from the misses only what holds for every such error was built in. ``how`` says
where the text is from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight

HELD: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "held.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in HELD])
def test_the_cause_comes_first(case: dict[str, Any]) -> None:
    """With one sentence, a line of the paste that shows it, and something to do."""
    found = qvl_preflight.diagnose(case["text"])
    assert found
    assert found[0].topic in case["topics"], [each.code for each in found]
    assert found[0].message
    assert found[0].fix
    assert found[0].evidence


def test_the_last_line_is_often_enough() -> None:
    """Many paste nothing else; where two causes share the words nothing is lost but the order."""
    named = 0
    for case in HELD:
        last = next((line for line in reversed(case["text"].splitlines()) if "Error: " in line and "ChildFailed" not in line), "")
        topics = [each.topic for each in qvl_preflight.diagnose(last)[:3]]
        named += not last or bool(set(topics) & set(case["topics"]))
    assert named >= 0.9 * len(HELD)
