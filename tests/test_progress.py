"""A word where something takes long, and none where it does not."""

from __future__ import annotations

import sys
import time
from io import StringIO

import pytest

from qvl_preflight.progress import progress


def test_what_is_quick_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where it raises."""
    with progress("looking"):
        pass
    with pytest.raises(ZeroDivisionError), progress("looking"):
        raise ZeroDivisionError
    assert capsys.readouterr() == ("", "")


def test_what_takes_long_says_so_and_how_long_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error; one that is closed is no reason to break."""
    stream = StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("making a small step", after=0.01):
        while "…" not in stream.getvalue():
            time.sleep(0.01)
    first, second = stream.getvalue().splitlines()
    assert first == "qvl-preflight: making a small step …"
    assert second.startswith("qvl-preflight: making a small step took ")
    stream.close()
    with progress("making a small step", after=0.01):
        time.sleep(0.05)
