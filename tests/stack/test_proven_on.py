"""Stacks against the machine: what is proven is offered where it can run, else the newest that is read to run, or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qvl_preflight.cli import main
from qvl_preflight.testing import machine

MACHINES = Path(__file__).parents[1] / "machines"


def offered(capsys: pytest.CaptureFixture[str], name: str, method: str, purpose: str = "qlora") -> dict[str, Any] | str:
    """What the command says: its JSON, or the one line that refuses."""
    code = main(
        ["stack", "--json", "--python", "3.12", "--purpose", purpose, "--method", method, "--facts", str(MACHINES / f"{name}.json")]
    )
    out, err = capsys.readouterr()
    return err if code else json.loads(out)


@pytest.mark.parametrize(("name", "method", "torch", "index"), [
    ("v100-new-wheel", "bnb4", "2.10.0", "cu128"),  # 2.11 and later are built for 7.5 and up
    ("v100-new-wheel", "gptq", "2.10.0", "cu128"),
    ("old-driver", "gptq", "2.7.1", "cu118"),  # a driver of CUDA 11.4 runs CUDA 11 alone
    ("old-driver", "bnb4", "2.7.1", "cu118"),
])  # fmt: skip
def test_another_torch_for_the_gpu_and_the_driver(
    capsys: pytest.CaptureFixture[str], name: str, method: str, torch: str, index: str
) -> None:
    found = offered(capsys, name, method)
    assert isinstance(found, dict)
    assert not found["proven_here"]
    assert "compute capability 7.0" in found["doubts"][0]
    assert found["packages"]["torch"] == torch
    assert found["torch_index"].endswith(index)
    assert "gptqmodel" not in found["packages"]  # 7.7.0 asks for torch 2.14.1, which has nothing for this GPU


def test_a_driver_that_is_too_old_for_a_new_gpu() -> None:
    """An A100 runs any wheel; a driver of CUDA 11.4 does not run torch 2.11, which comes with CUDA 13."""
    from qvl_preflight.stack.proven import PROVEN
    from qvl_preflight.stack.proven_on import doubts, proposal

    facts = machine("a100-old-driver")
    assert any("the driver 470.57.02 is older" in doubt for doubt in doubts(PROVEN[0], facts))
    found = proposal(facts, "qlora", "bnb4", None)
    assert found is not None
    assert (found[0].packages["torch"], found[1]) == ("2.7.1", "cu118")


@pytest.mark.parametrize(("name", "system"), [("rocm-mi250", "ROCm"), ("apple-m2", "macOS"), ("windows-cpu-torch", "Windows")])
def test_other_systems(capsys: pytest.CaptureFixture[str], name: str, system: str) -> None:
    """Quantised layers are refused; a plain checkpoint is offered as not proven, without what is built for one maker's GPU."""
    refused = offered(capsys, name, "gptq")
    assert isinstance(refused, str)
    assert f"this is {system}" in refused
    plain = offered(capsys, name, "none", "lora")
    assert isinstance(plain, dict)
    assert not plain["proven_here"]
    assert not {"gptqmodel", "bitsandbytes"} & set(plain["packages"])
    assert ("torch" in plain["packages"]) is (system != "ROCm")


@pytest.mark.parametrize("name", ["a100-box", "machine-without-gpu"])
def test_where_a_proven_stack_can_run_it_is_offered(capsys: pytest.CaptureFixture[str], name: str) -> None:
    found = offered(capsys, name, "gptq")
    assert isinstance(found, dict)
    assert found["proven_here"]
    assert found["doubts"] == []


def test_the_text_says_what_it_rests_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing claims to have been seen."""
    assert (
        main(
            [
                "stack",
                "--python",
                "3.12",
                "--purpose",
                "qlora",
                "--method",
                "bnb4",
                "--facts",
                str(MACHINES / "v100-new-wheel.json"),
            ]
        )
        == 0
    )
    text = capsys.readouterr().out
    assert "NOT proven for this machine" in text
    assert "seen with the rest" not in text
    assert "--extra-index-url https://download.pytorch.org/whl/cu128\n" in text
