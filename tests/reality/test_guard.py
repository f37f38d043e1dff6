"""A guard on real stacks: what it corrects, what it stops, what it leaves alone, and that nothing breaks by it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import stacks

MODELS = Path(__file__).parents[1] / "recordings" / "models"
FIXED = {"dtype": "torch.float16", "class": "LlamaForCausalLM", "reports": 1}


@pytest.fixture(scope="module", params=[("modern", "after"), ("modern", "before"), ("legacy", "after")], ids="-".join)
def scenes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every scene of guarded.py, played in one process of a stack."""
    stack, when = request.param
    scratch = tmp_path_factory.mktemp(stack)
    python, env = stacks.command(stack, scratch)
    command = [*python, str(Path(__file__).with_name("guarded.py")), str(MODELS), str(scratch), when]
    done = subprocess.run(
        command, env={**env, "HF_MODULES_CACHE": str(scratch / "modules")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    played = {line["scene"]: line["outcome"] for line in map(json.loads, done.stdout.splitlines())}
    return {**played, "stack": stack, "when": when}


def of(outcome: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in outcome.items() if key != "said"}


def raised(scenes: dict[str, Any]) -> str:
    """What the slip raises in this stack."""
    return "AttributeError" if scenes["stack"] == "modern" else "ValueError"


@pytest.mark.parametrize("scene", ["fix_by_an_auto_class", "fix_by_the_class_itself", "fix_by_keyword"])
def test_a_slip_is_corrected_and_said_once(scenes: dict[str, Any], scene: str) -> None:
    """Where it is written, by whatever class; an Auto class and the concrete one give one report together."""
    assert of(scenes[scene]) == FIXED
    assert "guarded.py:" in scenes[scene]["said"][0]
    assert scenes[scene]["said"][-1].endswith("the call is made as corrected.")


def test_without_a_guard_it_fails(scenes: dict[str, Any]) -> None:
    """Else the correction proves nothing; and warn changes nothing of it."""
    if scenes["when"] == "after":
        assert of(scenes["unguarded"]) == {"raised": raised(scenes), "reports": 0}
    assert of(scenes["warn"]) == {"raised": raised(scenes), "reports": 1}


def test_classes_of_the_person_and_of_a_checkpoint(scenes: dict[str, Any]) -> None:
    """A subclass in the script, and code that came with the weights, called by itself and by an Auto class."""
    assert of(scenes["fix_of_a_subclass_of_the_persons_own"]) == {**FIXED, "class": "Mine"}
    assert [of(each) for each in scenes["a_class_that_came_with_a_checkpoint"]] == [{**FIXED, "class": "OwnForCausalLM"}] * 2


def test_check_stops_what_will_fail_and_nothing_else(scenes: dict[str, Any]) -> None:
    """A good call passes without a word."""
    assert of(scenes["check"]) == {"raised": "PreflightStopped", "reports": 1}
    assert scenes["a_good_call"] == {"dtype": scenes["a_good_call"]["dtype"], "class": "LlamaForCausalLM", "reports": 0, "said": []}


def test_the_innermost_guard_counts_in_its_own_thread(scenes: dict[str, Any]) -> None:
    """The outer one counts again afterwards."""
    inner, outer = scenes["nested_guards"]
    assert (of(inner), outer["raised"]) == (FIXED, "PreflightStopped")
    assert scenes["two_threads"] == {"fix": "torch.float16", "check": "PreflightStopped"}


def test_the_call_of_a_library_is_reported_and_never_changed(scenes: dict[str, Any]) -> None:
    """Its arguments are its own."""
    outcome = scenes["a_call_of_a_library"]
    assert of(outcome) == {"raised": raised(scenes), "reports": 1}
    assert "(a call of somelib)" in outcome["said"][0]


def test_an_adapter_that_peft_loads_is_the_call_of_who_wrote_it(scenes: dict[str, Any]) -> None:
    """peft hands the arguments on to transformers; the place that is named is the script's."""
    outcome, right = scenes["an_adapter_by_peft"]
    assert of(outcome) == {**of(right), "reports": 1}  # peft 0.8 fails later, over a tokenizer that is not there
    assert scenes["stack"] == "legacy" or outcome["class"] == "PeftModelForCausalLM"
    assert "guarded.py:" in outcome["said"][0]
    assert "(a call of" not in outcome["said"][0]


def test_unsloth_is_left_alone(scenes: dict[str, Any]) -> None:
    """One line says so."""
    outcome = scenes["unsloth_is_there"]
    assert of(outcome) == {"raised": raised(scenes), "reports": 0}
    assert len(outcome["said"]) == 1


def test_a_purpose_that_nobody_named_changes_no_kernel(scenes: dict[str, Any]) -> None:
    """It is said where it comes from; the named one has the kernel changed."""
    shown = " ".join(scenes["a_purpose_that_shows"]["said"].split())
    assert scenes["a_purpose_that_shows"]["kwargs"] == {"device_map": None}
    made = ("TrainingArguments was", "TrainingArguments and LoraConfig were")  # of an earlier scene, under one guard for all
    assert any(f"In this process {each} made. The purpose was taken to be qlora" in shown for each in made)
    named = scenes["a_purpose_that_is_named"]
    assert named["class"] == "GPTQConfig"
    assert "trainable" in named["backend"] or named["use_exllama"] is False


@pytest.mark.parametrize("fault", ["raises", "hangs", "recursion"])
def test_a_fault_of_the_guard_changes_nothing(scenes: dict[str, Any], fault: str) -> None:
    """What fails without a guard fails in the same way, what works works; one line says that nothing was checked."""
    bad, good = scenes["faults"][fault]
    assert of(bad) == {"raised": raised(scenes), "reports": 0}
    assert (good["class"], good["reports"]) == ("LlamaForCausalLM", 0)
    assert "nothing was checked" in bad["said"][0]


def test_what_cannot_be_said_is_done_all_the_same(scenes: dict[str, Any]) -> None:
    """Standard error is closed, or on a full disk."""
    assert (scenes["faults"]["stderr closed"], scenes["faults"]["stderr full"]) == ("torch.float16", "torch.float16")


def test_every_method_is_put_back(scenes: dict[str, Any]) -> None:
    """The very object, on every class; nothing of ours is left in the import system."""
    outcome = scenes["put_back"]
    assert outcome["classes"] > 20
    assert outcome | {"classes": 0} == {"covered": True, "back": True, "ours": [], "classes": 0, "finders": True}


def test_a_call_that_is_known_costs_little(scenes: dict[str, Any]) -> None:
    """Milliseconds, against seconds that a load takes."""
    assert scenes["cost"] < 2
