"""Stacks that are offered as proven: each claim has a recorded run behind it, and the nearest one is offered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qvl_preflight.cli import main
from qvl_preflight.exceptions import InputError
from qvl_preflight.render.requirements import requirements
from qvl_preflight.stack.proven import PROVEN, ProvenStack, nearest
from qvl_preflight.testing import STACKS, machine
from recorded import cases, facts

_ACTIONS = {"inference": ("forward",), "lora": ("lora_step", "trainer_step"), "qlora": ("lora_step", "trainer_step")}


def method_of(case: dict[str, Any]) -> str:
    """The method of a recorded call, as ``--method`` names it."""
    kwargs = json.dumps(case["kwargs"])
    return (
        "bnb4" if '"load_in_4bit": true' in kwargs else "bnb8" if '"load_in_8bit": true' in kwargs
        else "gptq" if case["model"].startswith("gptq") else "none"
    )  # fmt: skip


def did_it(case: dict[str, Any]) -> bool:
    """Loaded, finite, and with gradients where it trained."""
    return case["outcome"] == "ok" and case.get("finite") is not False and case.get("grads") != 0 and case.get("grad_norm") != 0


@pytest.mark.parametrize(("stack", "pair"), [(stack, pair) for stack in PROVEN for pair in sorted(stack.works)], ids=str)
def test_each_claim_was_recorded(stack: ProvenStack, pair: tuple[str, str]) -> None:
    """The method and the purpose worked on that stack, on the device that is named."""
    method, purpose = pair
    device = "cpu" if stack.device == "a CPU" else "cuda:0"
    assert any(
        name == stack.recording and method_of(case) == method and case["purpose"] == purpose and case["action"] in _ACTIONS[purpose]
        and did_it(case) and device in case["devices"]
        for name, case in cases()
    )  # fmt: skip


@pytest.mark.parametrize("stack", PROVEN, ids=lambda stack: stack.recording)
def test_the_releases_are_those_of_the_recording(stack: ProvenStack) -> None:
    """Torch may carry a local version, +cpu say."""
    seen = facts(stack.recording).packages
    assert isinstance(seen, dict)
    assert {name: str(seen[name]).partition("+")[0] for name in stack.packages} == dict(stack.packages)


@pytest.mark.parametrize(
    ("hardware", "stack", "purpose", "method", "expected"),
    [
        pytest.param("a100", "legacy", "qlora", "gptq", "h100-legacy37", id="an old stack stays old"),
        pytest.param("a100", "seed", "qlora", "gptq", "h100-seed", id="the oldest too"),
        pytest.param("a100", "today", "qlora", "gptq", "h100-gptq5", id="a new one stays new"),
        pytest.param("a100", "middle-bnb", "qlora", "bnb4", "h100-bnb5", id="the only one for bitsandbytes"),
        pytest.param("no-gpu", "today", "inference", "gptq", "cpu-modern", id="without a GPU: what ran on a CPU"),
    ],
)
def test_nearest(hardware: str, stack: str, purpose: str, method: str, expected: str) -> None:
    """The one that changes least of what is installed."""
    assert nearest(machine(hardware, stack), purpose, method, None).recording == expected


def test_the_python_that_is_asked_for_decides() -> None:
    """transformers 5.23 does not install on 3.10: the newest that does is offered, or nothing."""
    assert nearest(machine("a100", "today"), "qlora", "gptq", (3, 10)).packages["transformers"] == "4.37.2"
    with pytest.raises(InputError, match=r"on Python 3\.8; there are some for 3\.10 to 3\.12, 3\.11 to 3\.13"):
        nearest(machine("a100", "today"), "qlora", "gptq", (3, 8))


def test_what_was_never_seen_is_not_offered() -> None:
    """One line that says what there is."""
    with pytest.raises(InputError, match="no stack was seen to do lora with gptq; there are"):
        nearest(machine("a100", "today"), "lora", "gptq", None)


def test_command_prints_requirements(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is installed already is said beside each line; pip reads the file as it is."""
    saved = tmp_path / "facts.json"
    driver = {"version": "580.95.05", "cuda": "13.0"}
    saved.write_text(json.dumps(machine("a100", "legacy", driver=driver).to_dict()))
    assert main(["stack", "--purpose", "qlora", "--method", "gptq", "--facts", str(saved)]) == 0
    text = capsys.readouterr().out
    assert "transformers==4.37.2  # installed\n" in text
    assert "torch==2.11.0  # installed: 2.2.2; only 2.11.0 was seen with the rest\n" in text
    assert "built from source" in text
    assert main(["stack", "--python", "three", "--facts", str(saved)]) == 2
    assert capsys.readouterr().err == "qvl-preflight: --python three: expected a release, 3.11 say\n"
    assert main(["stack", "--json", "--purpose", "qlora", "--method", "gptq", "--facts", str(saved)]) == 0
    assert json.loads(capsys.readouterr().out)["changes"] == {"torch": "2.2.2"}


def test_every_change_says_why() -> None:
    """A clash with the rest of the stack where one is known, else that nothing else was seen."""
    here = machine("a100", packages={**STACKS["today"]["packages"], "peft": "0.17.1", "torch": "2.2.2"})
    stack = nearest(here, "qlora", "bnb4", None)
    lines = dict(line.split("==") for line in requirements(stack, here, "qlora", "bnb4").splitlines() if "==" in line)
    assert "installed: 0.17.1; peft 0.17.1 needs HybridCache of transformers" in lines["peft"]
    assert "installed: 2.2.2; transformers 5.17.0 takes torch from" in lines["torch"]
    assert lines["accelerate"].endswith("# installed")


def test_nothing_is_claimed_of_packages_that_are_not_known() -> None:
    """Neither installed nor absent."""
    here = machine("a100", packages=None)
    assert "installed" not in requirements(nearest(here, "qlora", "gptq", None), here, "qlora", "gptq").replace(
        "is installed of", ""
    )
