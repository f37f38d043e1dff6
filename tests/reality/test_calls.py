"""The calls of calls.py on the stacks that are built: what is recorded must still be what they do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import stacks

RECORDINGS = Path(__file__).parents[1] / "recordings" / "calls"


@pytest.mark.parametrize(("stack", "release"), [("legacy", "4.37.2"), ("modern", "5.23.0")])
def test_the_stacks_do_what_is_recorded(stack: str, release: str, tmp_path: Path) -> None:
    """Every case: its type, and its text but for the places of files."""
    python, env = stacks.command(stack, tmp_path)
    script = str(Path(__file__).with_name("calls.py"))
    # Old releases name missing packages in the order of a set; with this seed it is the recorded one.
    env = {**env, "PYTHONHASHSEED": "2"}
    done = subprocess.run([*python, script], env=env, check=True, capture_output=True, text=True)
    assert outcomes(done.stdout) == outcomes((RECORDINGS / f"{release}.jsonl").read_text(encoding="utf-8"))


def outcomes(text: str) -> dict[str, Any]:
    lines = map(json.loads, text.splitlines()[1:])
    return {
        line["id"]: (line.get("type"), sorted(line.get("message", "").partition(" (/")[0][:110].replace(",", "").split()))
        for line in lines
    }
