"""docs/memory.md: each command says what its comment says, and the Python runs as it stands."""

from __future__ import annotations

import doctest
import json
import re
import shlex
from pathlib import Path

import pytest

from qvl_preflight.cli import main
from qvl_preflight.testing import checkpoints

PATH = Path(__file__).parents[1] / "docs" / "memory.md"
PAGE = PATH.read_text(encoding="utf-8")
COMMANDS = [
    tuple(part.strip() for part in re.split(r"\s+# ", line))
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the model, as the current one."""
    checkpoints.checkpoint("Qwen/Qwen2-7B-Instruct", tmp_path, layers=28)
    monkeypatch.chdir(tmp_path / "Qwen")
    return tmp_path / "Qwen"


@pytest.mark.parametrize(("command", "expected"), COMMANDS)
def test_commands_say_what_the_page_says(command: str, expected: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*shlex.split(command)[1:], "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == expected
    assert code == (1 if expected in ("too large", "spills") else 0)
    assert bool(found["would_fit"]) == (code == 1)


def test_the_python_runs(folder: Path) -> None:
    assert doctest.testfile(str(PATH), module_relative=False).failed == 0
