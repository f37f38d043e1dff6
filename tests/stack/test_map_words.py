"""A device_map of no form: what to write in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight.testing import machine


@pytest.mark.parametrize("stack", ["legacy", "recent-4", "today"])
@pytest.mark.parametrize(
    ("given", "title"),
    [
        ("", 'Name a device ("cuda:0") or "auto", or leave device_map out'),
        ("  ", 'Name a device ("cuda:0") or "auto", or leave device_map out'),
        ("nonsense", 'Name a device ("cuda:0") or "auto", or leave device_map out'),
        ("atuo", 'Write "auto"'),
        ("sequentail", 'Write "sequential"'),
    ],
)
def test_a_word_that_is_none_is_left_to_the_person(checkpoints: Path, stack: str, given: str, title: str) -> None:
    """Shown, not applied: an empty text is most often a variable that nobody set (run: 4.37.2, 4.57.1, 5.23.0 all refuse it)."""
    call = {"facts": machine("a100", stack), "device_map": given}
    (finding,) = qvl_preflight.check(str(checkpoints / "Qwen/Qwen2-7B-Instruct"), **call).findings
    assert finding.code == "QVL401"
    assert finding.fix is not None
    assert (finding.fix.title, finding.fix.edits) == (title, ())
    assert finding.raises is not None
    assert finding.raises.text.startswith("When passing device_map as a string, the value needs to be a device name")
