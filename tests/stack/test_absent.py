"""What every load runs on and is not there: it cannot begin, and nothing is guessed of what comes after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Facts, Packages, absent
from qvl_preflight.testing import STACKS, checkpoint, machine
from qvl_preflight.unknown import Undecided, Unknown

CALLS: list[dict[str, Any]] = [
    {},
    {"device_map": "auto"},
    {"loader": "AutoModelForSeq2SeqLM"},
    {"dtype": "fp16"},
    {"purpose": "lora", "peft": {"r": 8}},
    {"trainer": {"fp16": True}},
]


@pytest.fixture
def model(tmp_path: Path) -> str:
    return checkpoint("Qwen/Qwen2-7B-Instruct", tmp_path)


def without(*names: str, complete: bool = True, **more: str | bool) -> Facts:
    packages = {name: version for name, version in STACKS["today"]["packages"].items() if name not in names}
    return machine("a100", packages={**packages, **more}, packages_complete=complete, torch=None)


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("missing", ["transformers", "torch"])
def test_the_load_cannot_begin(model: str, missing: str, call: dict[str, Any]) -> None:
    """Whatever else the call says: what is met first is that nothing can be loaded, and no later error is made up."""
    report = qvl_preflight.check(model, facts=without(missing), **call)
    first = report.findings[0]
    assert (report.verdict, first.code) == ("fails", "QVL607")
    assert first.raises is not None
    assert missing in first.message
    assert not first.raises.text.startswith("{")


def test_nothing_is_guessed_of_a_release_that_is_not_there(model: str) -> None:
    """A dtype is what some release makes of the call: without one it is unknown, and was shown as float32."""
    report = qvl_preflight.check(model, facts=without("transformers"))
    assert report.plan is not None
    assert isinstance(report.plan.dtype, Unknown)


@pytest.mark.parametrize("name", ["transformers", "torch"])
def test_an_old_release_does_not_answer_for_an_absent_one(name: str) -> None:
    """Neither its release nor whether it is at least another is a question."""
    packages = Packages(without(name))
    for ask in (lambda: packages.release(name), lambda: packages.at_least(name, 4)):
        with pytest.raises(Undecided, match=f"{name} is not installed"):
            ask()
    assert packages.has(name) is False


def test_known_to_be_absent_is_enough(model: str) -> None:
    """``false`` says so even where the list is not complete."""
    facts = without("transformers", complete=False, transformers=False)
    assert [finding.code for finding in qvl_preflight.check(model, facts=facts).findings] == ["QVL607"]


def test_what_is_not_known_is_not_absent(model: str) -> None:
    """A list that may lack names says nothing about them; neither does a file without packages."""
    for facts in (without("transformers", "torch", complete=False), Facts.from_dict({"gpus": []})):
        assert absent(facts) == ()
        assert "QVL607" not in [finding.code for finding in qvl_preflight.check(model, facts=facts).findings]


def test_a_torch_whose_build_is_known_is_there() -> None:
    """Facts written by hand often leave torch out of the packages and say for which CUDA it is built."""
    packages = {"transformers": "5.23.0"}
    assert absent(Facts.from_dict({"packages": packages})) == ("torch",)
    assert absent(Facts.from_dict({"packages": packages, "torch": {"cuda_build": "12.1"}})) == ()


def test_the_doctor_does_not_call_an_absent_torch_sound() -> None:
    """Its headline names what was looked at, and what is not there."""
    raw = json.loads((Path(__file__).parent.parent / "machines" / "machine-without-gpu.json").read_text(encoding="utf-8"))
    head = " ".join(qvl_preflight.doctor(facts=raw).text().split())
    assert "in driver, GPUs, torch and launch" in head
    raw |= {"packages": {"accelerate": "1.15.0"}, "torch": None}
    head = " ".join(qvl_preflight.doctor(facts=raw).text().split())
    assert "in driver, GPUs and launch; transformers and torch are not installed" in head


# ── nothing of the model is here either ──


@pytest.mark.parametrize("packages", [{}, {"transformers": None}, {"transformers": "5.23.0", "torch": "2.14.1"}], ids=str)
def test_a_model_that_is_not_in_the_cache_is_said_to_be_missing(tmp_path: Path, packages: dict[str, Any]) -> None:
    """Offline by HF_HUB_OFFLINE: every release stops there, whichever is installed."""
    facts = machine("a100", packages=packages, env={"HF_HUB_OFFLINE": "1"}, packages_complete=bool(packages))
    report = qvl_preflight.check("org/nothing", facts=facts, cache_dir=str(tmp_path))
    assert "QVL950" in [finding.code for finding in report.findings]
    assert report.verdict in ("fails", "degraded")


def test_online_that_is_an_input_error(tmp_path: Path) -> None:
    """The call would fetch it: then it is only this check that has nothing to read."""
    with pytest.raises(InputError, match="neither a folder here nor a model in the cache"):
        qvl_preflight.check("org/nothing", facts=machine("a100", env={}), cache_dir=str(tmp_path))


# ── what only a training needs ──


@pytest.mark.parametrize(
    ("missing", "call", "said"),
    [
        pytest.param("peft", {"purpose": "lora"}, True, id="adapters without peft"),
        pytest.param("peft", {"purpose": "inference"}, False, id="inference needs no peft"),
        pytest.param("peft", {"purpose": "full", "trainer": {}}, False, id="nor does a full training"),
        pytest.param("accelerate", {"purpose": "full", "trainer": {}}, True, id="the Trainer without accelerate (run)"),
        pytest.param("accelerate", {"purpose": "full"}, False, id="a loop of one's own needs no accelerate"),
    ],
)
def test_what_a_training_needs(model: str, missing: str, call: dict[str, Any], said: bool) -> None:
    """Known not to be there: an error; not known: nothing."""
    codes = [finding.code for finding in qvl_preflight.check(model, facts=without(missing, torch="2.14.1"), **call).findings]
    assert ("QVL607" in codes) is said
    unknown = qvl_preflight.check(model, facts=without(missing, complete=False, torch="2.14.1"), **call)
    assert "QVL607" not in [finding.code for finding in unknown.findings]
