"""%preflight and %%preflight in a shell that is not IPython; in a real kernel they are run by tests/reality/test_notebook.py."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight import cells
from qvl_preflight.cells import CellStopped

LOAD = "AutoModelForCausalLM.from_pretrained"


class Compiler:
    """Compiles as IPython's does."""

    def cache(self, source: str) -> str:
        return "<cell>"

    def ast_parse(self, source: str, filename: str = "") -> ast.Module:
        return ast.parse(source, filename)

    def __call__(self, tree: Any, name: str, mode: str) -> Any:
        return compile(tree, name, mode)


class Shell:
    """What the magics ask of a shell."""

    def __init__(self, **names: Any) -> None:
        self.user_ns: dict[str, Any] = names
        self.compile = Compiler()
        self.magics: Any = {}

    def transform_cell(self, body: str) -> str:
        return body

    def transform_ast(self, tree: ast.Module) -> ast.Module:
        return tree

    def register_magic_function(self, function: Any, kind: str, name: str) -> None:
        self.magics[name] = function


@pytest.fixture
def model(checkpoints: Path) -> str:
    return str(checkpoints / "Qwen/Qwen2-0.5B-Instruct")


class Loader:
    """Stands where the class of a model stands; counts its calls."""

    made = 0

    @classmethod
    def from_pretrained(cls, *given: Any, **kwargs: Any) -> str:
        cls.made += 1
        return "a model"


def shell(**names: Any) -> Any:
    Loader.made = 0
    made = Shell(**names)
    qvl_preflight.load_ipython_extension(made)  # type: ignore[attr-defined]
    return made


def test_a_call_that_would_fail_is_not_made(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, which IPython shows as it is; a purpose that is none stops as well."""
    here = shell(name=model, AutoModelForCausalLM=None)
    source = f"{LOAD}(name, device_map='auto', low_cpu_mem_usage=False, dtype='flaot16')"
    with pytest.raises(CellStopped, match=r"line 1, QVL\d+: .*; the cell was not run") as stopped:
        here.magics["preflight"]("--purpose inference", source)
    assert len(stopped.value._render_traceback_()) == 1
    assert "FAILS" in capsys.readouterr().out
    with pytest.raises(CellStopped, match="purpose 'nonsense' is not known"):
        here.magics["preflight"]("--purpose nonsense", "1")
    with pytest.raises(AttributeError):  # the cell's own: it is run
        here.magics["preflight"]("--warn", source)
    here.user_ns["AutoModelForCausalLM"] = Loader  # no class of transformers, so no call of its
    assert here.magics["preflight"]("", source) == "a model"
    assert Loader.made == 1


def test_a_cell_is_run_once_and_gives_its_last_value(capsys: pytest.CaptureFixture[str]) -> None:
    """With --warn whatever is found; where nothing is found; where the check breaks; where it is switched off."""
    here = shell(ran=[])
    assert here.magics["preflight"]("", "ran.append(1)\nran") == [1]
    assert "no call of from_pretrained" in capsys.readouterr().out
    assert here.magics["preflight"]("", "ran.append(2)") is None
    assert here.magics["preflight"]("", "x = 3") is None
    assert here.user_ns["ran"] == [1, 2]
    here.user_ns["SomeModel"] = None
    source = "ran.append(4)\nwhere = pick() if ran[9:] else 'cpu'\nSomeModel.from_pretrained('m', device_map=where) if ran[9:] else len(ran)"
    assert here.magics["preflight"]("", source) == 3
    assert "line 3, SomeModel.from_pretrained: not checked, since pick() if ran[9:]" in capsys.readouterr().out
    with pytest.raises(ZeroDivisionError):
        here.magics["preflight"]("", "1 / 0")
    with pytest.raises(SyntaxError):
        here.magics["preflight"]("", "1 +")
    with pytest.raises(CellStopped, match="awaits"):
        here.magics["preflight"]("", "ran.append(5)\nawait nobody")
    assert here.user_ns["ran"] == [1, 2, 4]


def test_a_check_that_breaks_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """And the cell is run; off is off."""

    def breaks(*given: Any) -> Any:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(cells, "calls", breaks)
    here = shell()
    assert here.magics["preflight"]("", "1 + 1") == 2
    assert capsys.readouterr().out == "qvl-preflight: the check failed (ZeroDivisionError: of ours); the cell is run without it\n"
    monkeypatch.setenv("QVL_PREFLIGHT", "off")
    assert here.magics["preflight"]("", "1 + 1") == 2
    assert capsys.readouterr().out == ""


def test_a_model_that_is_not_there_is_said_and_the_cell_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    """What it raises is the cell's own."""
    here = shell(SomeModel=None)
    with pytest.raises(AttributeError):
        here.magics["preflight"]("", "SomeModel.from_pretrained('./no/such/folder')")
    assert "no such folder" in capsys.readouterr().out


def test_an_error_under_a_condition_stops_nothing(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The call may never be made."""
    here = shell(name=model, AutoModelForCausalLM=None)
    source = f"if False:\n    {LOAD}(name, dtype='flaot16')\n'ran'"
    assert here.magics["preflight"]("", source) == "ran"
    assert "the cell is run, since it stands under a condition" in capsys.readouterr().out


def test_the_line(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The machine, a model by its variable, a page, the usage; what cannot be read is one line."""
    here = shell(name=model)
    for line, said in (
        ("", "this environment"),
        ("name --purpose inference", "inference: "),
        ("explain QVL306", "kernel-refuses-the-cpu"),
        ("explain QVL000x", "qvl-preflight: no rule is called"),
        ("nobody", "%preflight why"),
        ("name --purpose nonsense", "purpose 'nonsense' is not known"),
        ("name --gradients", "gradients takes a model that is loaded"),
        ("'", "cannot be read"),
        ("--strange", "unrecognized arguments"),
    ):
        here.magics["preflight"](line)
        assert said in capsys.readouterr().out, line
    shown = cells._Shown(qvl_preflight.doctor(facts={}))
    assert shown._repr_html_().startswith("<div")
    assert repr(shown) == qvl_preflight.doctor(facts={}).text()
