"""Recorded runs of real stacks, replayed: the plan must say what happened. See tests/recordings/README.md for how they were made."""

from __future__ import annotations

from typing import Any

import pytest

from agreement import disagreement
from recorded import cases, known, replay

CASES = cases()
KNOWN = known()  # each must still part, or its line goes


@pytest.mark.parametrize(("stack", "case"), CASES, ids=[f"{stack} {case['id']}" for stack, case in CASES])
def test_plan_says_what_happened(stack: str, case: dict[str, Any]) -> None:
    """Exception, stage, devices, dtype and kernel of a recorded call."""
    parted = disagreement(replay(stack, case), case)
    if f"{stack} {case['id']}" in KNOWN:
        assert parted is not None, "this agrees now: take it out of known.json"
    else:
        assert parted is None


def test_recordings_are_there() -> None:
    """A glob that finds nothing would pass silently."""
    assert len(CASES) > 500
    assert len(KNOWN) < len(CASES) / 36
