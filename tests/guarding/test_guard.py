"""A guard where nothing is installed that it could guard: settings, hooks of imports, places, purposes, faults."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.exceptions import InputError, PreflightStopped
from qvl_preflight.guarding import active, call, callsite, judging, made, said
from qvl_preflight.guarding.importing import PostImports
from qvl_preflight.guarding.made import Made, purposes
from qvl_preflight.guarding.patches import Patches, classes
from qvl_preflight.guarding.ranks import Ranks
from qvl_preflight.sections import Launch
from qvl_preflight.testing import write_checkpoint

SHAPES = """
class Base:
    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        return cls, args, kwargs

class Other(Base):
    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        return super().from_pretrained(*args, **kwargs)

class Inherits(Base):
    pass
"""


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that is not imported yet."""
    name = f"shapes_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(SHAPES)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.fixture
def model(tmp_path: Path) -> str:
    write_checkpoint(
        str(tmp_path / "model"), {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, [{"a": ("F32", (8,))}]
    )
    return str(tmp_path / "model")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_cache", {})
    monkeypatch.setattr(said, "_said", set())
    monkeypatch.setattr(call, "_given_up", [])


def load(cls: type, *args: Any, **kwargs: Any) -> Any:
    return args, kwargs


@pytest.mark.parametrize("late", [False, True])
def test_methods_are_covered_and_put_back(shapes: str, late: bool) -> None:
    """Whether the module is there before the guard or not; a class that only inherits is covered through its base."""
    seen: list[type] = []

    def what(load: Any, cls: type, args: Any, kwargs: Any) -> Any:
        seen.append(cls)
        return load(cls, *args, **kwargs)

    patches = Patches({shapes: lambda module: classes(module, "Base", what)})
    if late:
        __import__(shapes)
    patches.hold()
    patches.hold()
    module: Any = __import__(shapes)
    assert module.Inherits.from_pretrained("m", a=1) == (module.Inherits, ("m",), {"a": 1})
    assert seen == [module.Inherits]
    patches.release()
    assert vars(module.Base)["from_pretrained"].__func__.__wrapped__ is not None
    patches.release()
    seen.clear()
    module.Other.from_pretrained("m")
    assert seen == []
    assert not hasattr(vars(module.Base)["from_pretrained"].__func__, "__wrapped__")


def test_what_somebody_put_above_ours_stays(shapes: str) -> None:
    """It is theirs, and goes on to call the original through ours."""
    patches = Patches({shapes: lambda module: classes(module, "Base", lambda load, cls, args, kwargs: load(cls, *args, **kwargs))})
    patches.hold()
    module: Any = __import__(shapes)
    theirs = classmethod(lambda cls, *args: "theirs")
    module.Base.from_pretrained = theirs
    patches.release()
    assert vars(module.Base)["from_pretrained"] is theirs


def test_a_module_keeps_its_own_loader(shapes: str) -> None:
    """Who asks it for sources gets them; a hook that fails leaves the import alone; reloading calls it again."""
    seen: list[ModuleType] = []

    def hook(module: ModuleType) -> None:
        seen.append(module)
        raise RuntimeError("a module of another shape")

    finder = PostImports({shapes: hook})
    finder.install()
    try:
        module = __import__(shapes)
        loader: Any = module.__loader__
        assert type(loader).__module__.startswith("_frozen_importlib")
        assert loader.get_source(shapes) == SHAPES
        assert "exec_module" not in vars(loader)
        assert seen == [module]
        assert finder.find_spec("json") is None
    finally:
        finder.remove()
        finder.remove()
    assert finder not in sys.meta_path


@pytest.mark.parametrize(("mode", "purpose"), [("fixx", None), ("warn", "finetune")])
def test_a_guard_of_another_name_is_refused(mode: str, purpose: str | None) -> None:
    """At once, and nothing is held."""
    with pytest.raises(InputError, match="expected one of"), qvl_preflight.guard(mode, purpose):
        pass
    with pytest.raises(InputError):
        qvl_preflight.install_guard(mode, purpose)
    assert active.current() is None


def test_the_innermost_guard_counts() -> None:
    """Inside a block its own, else that of the process; an end without a beginning is none."""
    qvl_preflight.uninstall_guard()
    qvl_preflight.install_guard("warn")
    qvl_preflight.install_guard("check", "lora")
    try:
        assert active.current() == active.Settings("check", "lora")
        with qvl_preflight.guard("fix"):
            assert active.current() == active.Settings("fix")
        assert active.current() == active.Settings("check", "lora")
    finally:
        qvl_preflight.uninstall_guard()
    assert active.current() is None


@pytest.mark.parametrize(
    ("file", "module", "library"),
    [
        ("/home/me/train.py", "__main__", None),
        ("<stdin>", "__main__", None),
        ("/tmp/ipykernel_7/1.py", "__main__", None),
        ("/venv/lib/python3.11/site-packages/lm_eval/models.py", "lm_eval.models", "lm_eval"),
        ("/src/trl/trainer.py", "trl.trainer", "trl"),
        ("/home/me/.cache/modules/transformers_modules/x/modeling_qwen.py", "transformers_modules.x.modeling_qwen", "transformers_modules"),
        ("<frozen runpy>", "runpy", "runpy"),
        (str(Path(subprocess.__file__)), "subprocess", "subprocess"),
    ],
)  # fmt: skip
def test_who_wrote_a_call(file: str, module: str, library: str | None) -> None:
    """Where the code lies, or whose module it is."""
    scope: dict[str, Any] = {"__name__": module, "caller": callsite.caller}
    exec(compile("def made():\n    return caller()", file, "exec"), scope)
    site = scope["made"]()
    assert (site.file, site.line, site.library) == (file, 2, library)


def test_the_place_reads_as_it_would_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near files by their relative path."""
    monkeypatch.chdir(Path(__file__).parent)
    assert str(callsite.Site(__file__, 7)) == "test_guard.py:7"
    assert str(callsite.Site("<stdin>", 1)) == "<stdin>:1"
    assert str(callsite.Site("/env/lib/x.py", 3, "x")) == "/env/lib/x.py:3 (a call of x)"


class Arguments:
    """Settings of a training."""


@pytest.mark.parametrize(
    ("given", "quantised", "expected"),
    [
        (Made(), True, ()),
        (Made(trainer=Arguments()), True, ("qlora",)),
        (Made(trainer=Arguments()), False, ("lora", "full")),
        (Made(lora=Arguments()), False, ("lora",)),
        (Made(lora=Arguments()), True, ("qlora",)),
        (Made(prepared=True), False, ("qlora",)),
    ],
)
def test_what_was_made_says_what_for(given: Made, quantised: bool, expected: tuple[str, ...]) -> None:
    """Nothing made says nothing; arguments for a Trainer leave open what is trained, unless the weights are quantised."""
    assert purposes(given, quantised) == expected


def test_what_was_made_in_words() -> None:
    """As a note of the report says it; an adapter that is only used is not one that is trained."""
    made.forget()
    used = Arguments()
    used.inference_mode = True  # type: ignore[attr-defined]
    made.note_lora(used)
    assert Made() == made.MADE
    made.note_lora(Arguments())
    made.note_trainer(Arguments())
    made.note_prepared()
    assert made.MADE.words == "Arguments and Arguments were made and prepare_model_for_kbit_training was called"
    made.forget()
    assert made.MADE.words == ""


def test_only_what_holds_for_both_is_said(model: str) -> None:
    """Arguments for a Trainer, and weights that are not quantised: adapters, or all."""
    both = judging.judge(judging.Asked(model, "AutoModelForCausalLM", {}, None, True), Made(trainer={"bf16": True}))
    assert "holds for both" in " ".join(both.report.notes)
    assert not both.named
    one = judging.judge(judging.Asked(model, "AutoModelForCausalLM", {}, "full", True), Made(trainer={"bf16": True}))
    assert one.named
    assert {finding.code for finding in both.report.findings} <= {finding.code for finding in one.report.findings}


def test_check_stops_and_warn_goes_on(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Here transformers is not installed: every call fails. Standard output stays the script's."""
    with qvl_preflight.guard("check"), pytest.raises(PreflightStopped, match="from_pretrained"):
        call.loads(load, Arguments, (model,), {"device_map": "cpu"})
    assert "stopped before weights are loaded" in capsys.readouterr().err
    for mode in ("warn", "fix"):
        with qvl_preflight.guard(mode):
            assert call.loads(load, Arguments, (model,), {"device_map": "cpu"}) == ((model,), {"device_map": "cpu"})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("the call is made as it is") == 1  # the same place, with the same findings


def test_a_library_is_not_stopped(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """transformers' pipeline tries one class after another, and expects that some fail."""
    scope: dict[str, Any] = {
        "__name__": "transformers.pipelines.base",
        "loads": call.loads,
        "load": load,
        "kind": Arguments,
        "model": model,
    }
    exec(compile("def tries():\n    return loads(load, kind, (model,), {})", "/env/base.py", "exec"), scope)
    with qvl_preflight.guard("check"):
        assert scope["tries"]() == ((model,), {})
    assert "(a call of transformers)" in capsys.readouterr().err


@pytest.mark.parametrize("given", [(), (None,), ("",), (7,), ("job.yaml",), ({"a": 1},)])
def test_a_call_without_a_model_is_made_as_it_is(given: tuple[Any, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever from_pretrained says to it."""
    with qvl_preflight.guard("check"):
        assert call.loads(load, Arguments, given, {"state_dict": None}) == (given, {"state_dict": None})
    assert capsys.readouterr().err == ""


def test_nothing_is_looked_at_where_it_is_switched_off(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """QVL_PREFLIGHT=off."""
    monkeypatch.setenv("QVL_PREFLIGHT", "off")
    with qvl_preflight.guard("check"):
        assert call.loads(load, Arguments, (model,), {}) == ((model,), {})


def test_what_hangs_is_given_up_for_good(model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One wait, one line."""
    monkeypatch.setattr(judging, "judge", lambda *_: time.sleep(1))
    monkeypatch.setattr(judging, "LIMIT_S", 0.05)
    with qvl_preflight.guard("check"):
        for _ in range(3):
            assert call.loads(load, Arguments, (model,), {}) == ((model,), {})
    assert capsys.readouterr().err.count("nothing was checked") == 1


def test_a_file_that_cannot_be_read_is_said_and_left_to_the_call(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """from_pretrained has its own words for it."""
    (Path(model) / "config.json").write_text("{ not json")
    with qvl_preflight.guard("check"):
        assert call.loads(load, Arguments, (model,), {}) == ((model,), {})
    assert "nothing was checked" in capsys.readouterr().err


def test_the_call_inside_a_call_is_part_of_it(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An Auto class calls the concrete one."""

    def auto(cls: type, *args: Any, **kwargs: Any) -> Any:
        return call.loads(load, Arguments, args, kwargs)

    with qvl_preflight.guard("warn"):
        call.loads_adapter(lambda cls, *args, **kwargs: call.loads(auto, Arguments, args, kwargs), Arguments, (model,), {})
    assert capsys.readouterr().err.count("from_pretrained") == 1


def of_rank(rank: int, token: str | None) -> Ranks:
    return Ranks.of(Launch("torchrun", 2, rank, rank, 2, False, False, False), token)


def test_ranks_tell_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one's findings reach the others; a stop is seen by who started them; a disk that takes nothing is no trouble."""
    monkeypatch.setattr("qvl_preflight.guarding.ranks.tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("qvl_preflight.guarding.ranks.WAIT_S", 0.1)
    monkeypatch.setattr("qvl_preflight.guarding.ranks._calls", {"judged": 0})
    first = of_rank(0, "t")
    monkeypatch.setattr("qvl_preflight.guarding.ranks._calls", {"judged": 0})
    other = of_rank(1, "t")
    assert other.of_the_first() == frozenset()
    first.note(("QVL401",))
    other.note(())
    assert other.of_the_first() == {"QVL401"}
    other.stop("fails")
    other.stop("clean")
    assert (tmp_path / "qvl-preflight-t" / "stopped").read_text() == "fails"
    alone = of_rank(1, None)
    alone.note(("QVL401",))
    assert alone.of_the_first() == frozenset()
    (tmp_path / "qvl-preflight-u").touch()  # in the way of its folder
    of_rank(0, "u").note(("QVL401",))


def test_another_rank_says_in_a_line_what_is_new(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a word of the first rank, everything is."""
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with qvl_preflight.guard("warn"):
        call.loads(load, Arguments, (model,), {})
    err = capsys.readouterr().err
    assert err.startswith("qvl-preflight: rank 1: ")
    assert err.count("\n") == 1


def test_an_exit_of_ours_is_none_of_the_script(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even SystemExit gets out of a check."""
    monkeypatch.setattr(judging, "judge", lambda *_: sys.exit(5))
    with qvl_preflight.guard("check"):
        assert call.loads(load, Arguments, (model,), {}) == ((model,), {})
