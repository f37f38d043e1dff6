"""What holds for every command, those that will be added included: a mistake is one line on stderr, nothing on stdout, exit code 2."""

from __future__ import annotations

import argparse
import ast
import os
import sys
from pathlib import Path

import pytest

from qvl_preflight import cli
from qvl_preflight.testing import write_checkpoint

COMMANDS = list(cli._COMMANDS)


def actions(command: str) -> list[argparse.Action]:
    """The arguments of a command."""
    parser = cli._parser(command)
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return list(commands.choices[command]._actions)


def rightly(command: str, model: Path) -> list[str]:
    """The command with what it needs."""
    given = [command]
    for action in actions(command):
        if not action.option_strings and action.nargs not in ("?", "*", argparse.REMAINDER):
            given.append(str(model) if action.metavar == "MODEL" else next(iter(action.choices or ()), "QVL101"))
        elif not action.option_strings and action.metavar == "FILE":
            given.append(str(model / "config.json"))  # any text: else it waits for standard input
    return given


FILES = [(command, action.option_strings[-1]) for command in COMMANDS for action in actions(command) if action.option_strings and action.metavar == "FILE" and "--save" not in action.option_strings]  # fmt: skip
CHOICES = [(command, action.option_strings[-1]) for command in COMMANDS for action in actions(command) if action.option_strings and action.choices]  # fmt: skip
BAD = {
    "missing": lambda path: None,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    "empty": Path.touch,
    "deep": lambda path: path.write_text('{"a":' * 80_000 + "1" + "}" * 80_000),
    "deep without braces": lambda path: path.write_text("[" * 400_000),
    "a list": lambda path: path.write_text("[1, 2]"),
    "cut off": lambda path: path.write_text('{"fp16": tr'),
    "latin-1": lambda path: path.write_bytes('{"name": "Müller"}'.encode("latin-1")),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_checkpoint(str(tmp_path / "model"), {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}, [{}])
    return tmp_path / "model"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line with which a command is refused."""
    code = cli.main(list(arguments))
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("qvl-preflight: ")
    assert "internal error" not in err
    return err


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_does_not_exist(capsys: pytest.CaptureFixture[str], model: Path, command: str) -> None:
    """With the place where those that do are listed."""
    assert "--help'" in refused(capsys, *rightly(command, model), "--nonsense")


@pytest.mark.parametrize("command", COMMANDS)
def test_too_much(capsys: pytest.CaptureFixture[str], model: Path, command: str) -> None:
    """More words than the command takes."""
    if any(action.nargs == argparse.REMAINDER for action in actions(command)):
        pytest.skip("takes whatever comes")
    refused(capsys, *rightly(command, model), "nonsense", "more")


@pytest.mark.parametrize("command", [command for command in COMMANDS if any(action.required for action in actions(command))])
def test_too_little(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Without what it is about."""
    assert "required" in refused(capsys, command)


@pytest.mark.parametrize(("command", "option"), CHOICES)
def test_a_choice_that_is_none(capsys: pytest.CaptureFixture[str], model: Path, command: str, option: str) -> None:
    """The choices are listed."""
    assert "choose from" in refused(capsys, *rightly(command, model), option, "nonsense")


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(("command", "option"), FILES)
def test_a_file_that_is_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path, command: str, option: str, kind: str
) -> None:
    """Whatever stands where a file should; the line names it."""
    path = tmp_path / "given"
    BAD[kind](path)
    assert str(path) in refused(capsys, *rightly(command, model), option, str(path))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_there(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """And every argument has a text."""
    with pytest.raises(SystemExit) as done:
        cli.main([command, "--help"])
    assert done.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: qvl-preflight {command}")
    assert [action.dest for action in actions(command) if not action.help and not action.choices] == []


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "run"])  # what it prints is its command's
def test_a_closed_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, command: str) -> None:
    """Asked for anything at all, with nowhere to put it."""
    monkeypatch.setattr(sys, "stdout", None)
    assert "is closed" in refused(capsys, *rightly(command, model))


def test_nothing_prints_past_the_one_place_that_can_fail_well() -> None:
    """print() meets a closed or full output, or an encoding that lacks a sign, on its own."""
    source = Path(cli.__file__).parent
    printing = [
        f"{path.relative_to(source)}:{node.lineno}"
        for path in source.rglob("*.py")
        if path.name != "cli_output.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []
