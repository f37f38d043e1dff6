"""Facts that leave out what is installed: what is said of the stacks that a call can be meant for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Finding, Severity
from qvl_preflight.testing import machine

BNB = {"__class__": "BitsAndBytesConfig", "load_in_4bit": True}


def found(root: Path, model: str, packages: dict[str, Any], *, hardware: str = "a100", **arguments: Any) -> dict[str, Finding]:
    """The findings of a call, by topic, where only these packages are known."""
    facts = machine(hardware, packages=packages, packages_complete=False)
    report = qvl_preflight.check(str(root / model), facts=facts, **arguments)
    return {finding.topic: finding for finding in report.findings}


def test_what_every_release_does_is_said(checkpoints: Path) -> None:
    """A configuration of another method is refused by all of them, each in its words: no exception is named."""
    finding = found(checkpoints, "Qwen/Qwen2-7B-Instruct-GPTQ-Int4", {}, quantization_config=BNB, device_map={"": 0})[
        "quant-config-conflict"
    ]
    assert finding.severity is Severity.WARNING
    assert finding.raises is None
    assert "whichever release of transformers is installed" in finding.message


def test_what_half_of_them_do_is_said_with_their_names(checkpoints: Path) -> None:
    """load_in_4bit beside a configuration is refused since 4.45, and quietly overridden before."""
    finding = found(checkpoints, "Qwen/Qwen2-7B-Instruct", {}, load_in_4bit=True, quantization_config=BNB)["duplicate-quant-kwargs"]
    assert "transformers 4.45.2" in finding.message
    assert "transformers 4.37.2" not in finding.message


def test_what_one_of_many_does_is_not_said(checkpoints: Path) -> None:
    """Of the companions that 4.32 can have, one combination fails under a Trainer: working calls look the same."""
    topics = found(
        checkpoints, "Qwen/Qwen-VL-Chat-Int4", {"transformers": "4.32.0"}, purpose="qlora", trainer={"fp16": True}, trust_remote_code=True,
        quantization_config={"__class__": "GPTQConfig", "bits": 4, "disable_exllama": True},
    )  # fmt: skip
    assert "exllama-training" not in topics


@pytest.mark.parametrize(
    "packages", [{"transformers": "4.37.2"}, {"transformers": "4.34.1"}], ids=lambda value: value["transformers"]
)
def test_a_known_release_is_not_doubted(checkpoints: Path, packages: dict[str, Any]) -> None:
    """Where transformers is known to accept both spellings, nothing is said of others that would not."""
    topics = found(checkpoints, "Qwen/Qwen2-7B-Instruct", packages, load_in_4bit=True, quantization_config=BNB)
    assert "duplicate-quant-kwargs" not in topics


def test_known_to_be_absent_is_an_answer(checkpoints: Path) -> None:
    """Without transformers nothing is assumed about it."""
    packages = {"transformers": False}
    assert "duplicate-quant-kwargs" not in found(
        checkpoints, "Qwen/Qwen2-7B-Instruct", packages, load_in_4bit=True, quantization_config=BNB
    )


def test_shards_are_not_said_to_stay_on_the_cpu(checkpoints: Path) -> None:
    """FSDP moves them, whatever is installed."""
    topics = found(checkpoints, "Qwen/Qwen2-7B-Instruct-GPTQ-Int4", {}, purpose="qlora", trainer={"fsdp": "full_shard"})
    assert "QVL402" not in {finding.code for finding in topics.values()}


# ── where nobody looked for GPUs ────────────────────────────────────────────────────────────────────────────────────────────────

NO_LOOK: dict[str, Any] = {"gpus": None, "driver": None, "nvidia": None, "torch": None, "host": None}


def unlooked(root: Path, model: str, packages: dict[str, Any], **arguments: Any) -> dict[str, Finding]:
    """As `found`, where nothing is known of GPUs either."""
    facts = machine("a100", packages=packages, packages_complete=False, **NO_LOOK)
    report = qvl_preflight.check(str(root / model), facts=facts, **arguments)
    return {finding.topic: finding for finding in report.findings if finding.severity is not Severity.NOTE}


def test_what_a_gpu_mends_is_not_said(checkpoints: Path) -> None:
    """bitsandbytes needs a GPU, "cuda" means one, fp16 training takes one: nobody says that there is none."""
    assert not unlooked(checkpoints, "Qwen/Qwen2-7B-Instruct", {}, quantization_config=BNB, device_map="auto")
    assert not unlooked(checkpoints, "Qwen/Qwen2-7B-Instruct", {"transformers": "4.57.1"}, device_map="cuda")
    assert not unlooked(checkpoints, "Qwen/Qwen2-0.5B-Instruct", {"transformers": "4.37.2"}, purpose="full", trainer={"fp16": True})


def test_what_runs_without_a_gpu_is_not_said(checkpoints: Path) -> None:
    """float16 on the CPU of an old torch fails there; with a GPU it is a matter of where people move the model."""
    assert not unlooked(checkpoints, "Qwen/Qwen2-0.5B-Instruct", {"transformers": "4.37.2", "torch": "2.1.2"})


def test_awq_on_the_cpu_is_said_where_it_is_asked_for(checkpoints: Path) -> None:
    """autoawq computes on a GPU only, and without one old releases refuse; without a device_map people move the model themselves."""
    finding = unlooked(checkpoints, "example/awq", {}, device_map="cpu")["awq-no-cuda"]
    assert (finding.severity, finding.raises) == (Severity.WARNING, None)
    assert "without a GPU" in finding.message
    assert "awq-no-cuda" not in unlooked(checkpoints, "example/awq", {})
    assert "awq-no-cuda" not in unlooked(checkpoints, "example/awq", {"transformers": "5.23.0"}, device_map="cpu")


def test_autoawq_is_assumed_for_awq_models_alone(checkpoints: Path) -> None:
    """It breaks peft beside transformers 4.57, for every model: who has no AWQ model does not have it."""
    topics = found(checkpoints, "Qwen/Qwen2-7B-Instruct", {}, purpose="lora", dtype="bfloat16", device_map={"": 0})
    assert "awq-transformers-skew" not in topics
