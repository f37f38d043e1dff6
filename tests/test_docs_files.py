"""The page on files shows what happens."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "files.md"


def test_the_examples_of_the_page_are_true(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run in order, in the folder of the named checkpoints."""
    monkeypatch.chdir(checkpoints)
    text = PAGE.read_text(encoding="utf-8").replace("```", "")
    example = doctest.DocTestParser().get_doctest(text, {}, "files.md", str(PAGE), 0)
    assert len(example.examples) >= 17
    result = doctest.DocTestRunner(verbose=False).run(example)
    assert result.failed == 0, capsys.readouterr().out
