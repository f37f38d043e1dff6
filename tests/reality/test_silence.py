"""What has nothing to do with loading a model is not named: a hundred and fifty exceptions, really raised by torch, numpy, tokenizers, sockets and people's bugs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import stacks

import qvl_preflight

RAISERS = Path(__file__).parent / "raisers.py"


@pytest.mark.parametrize("stack", ["modern", "legacy"])
def test_unrelated_exceptions_are_not_named(stack: str, tmp_path: Path) -> None:
    """At most one; as pasted into a terminal, and as a log with all of them."""
    command, env = stacks.command(stack, tmp_path)
    ran = subprocess.run([*command, str(RAISERS)], env=env, capture_output=True, text=True, check=True, timeout=600)
    pastes = [paste for paste in re.split(r"<<<\d+>>>\n", ran.stdout) if paste.strip()]
    raised = [paste for paste in pastes if "Traceback" in paste]
    assert len(raised) >= 130, [paste for paste in pastes if paste not in raised]
    named = [(paste.strip().splitlines()[-1], found[0].code) for paste in raised if (found := qvl_preflight.diagnose(paste))]
    assert len(named) <= 1, named
