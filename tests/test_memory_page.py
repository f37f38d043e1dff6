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
    """A folder that holds the models, as the current one."""
    monkeypatch.syspath_prepend(str(PATH.parents[1] / "examples"))
    import qwen_vl_chat_int4

    qwen_vl_chat_int4.write(str(tmp_path / "Qwen" / "Qwen-VL-Chat-Int4"))
    checkpoints.checkpoint("Qwen/Qwen2-7B-Instruct", tmp_path, layers=28)
    monkeypatch.chdir(tmp_path / "Qwen")
    return tmp_path / "Qwen"


@pytest.mark.parametrize(("command", "expected"), COMMANDS)
def test_commands_say_what_the_page_says(command: str, expected: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*shlex.split(command)[1:], "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == expected
    assert code == (1 if expected in ("too large", "spills") else 0)
    unknown = "Qwen-VL-Chat-Int4" in command  # nothing is offered where the step is not known
    assert bool(found["would_fit"]) == (code == 1 and not unknown)
    if unknown:
        assert found["estimate"]["weights_bytes"] == 9_541_066_752


def test_the_python_runs(folder: Path) -> None:
    assert doctest.testfile(str(PATH), module_relative=False).failed == 0
