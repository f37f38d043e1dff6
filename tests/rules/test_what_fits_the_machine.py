"""What a fix says fits the machine that it is said of."""

from __future__ import annotations

from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight.api import fix_kwargs
from qvl_preflight.testing import machine

PLAIN = "Qwen/Qwen2-7B-Instruct"


def test_bf16_without_a_gpu_speaks_of_no_gpu(checkpoints: Path) -> None:
    """No advice on an older GPU where there is none."""
    report = qvl_preflight.check(str(checkpoints / PLAIN), facts=machine("no-gpu"), purpose="lora", trainer={"bf16": True})
    shown = [finding.fix.title for finding in report.findings if finding.code == "QVL806" and finding.fix]
    assert shown
    assert shown[0].startswith("Pass use_cpu=True")


@pytest.mark.parametrize("given", ["gpu", "AUTO", "balanced_low"])
@pytest.mark.parametrize("hardware", ["no-gpu", "a100"])
def test_a_device_map_that_is_none_has_a_way_out(given: str, hardware: str, checkpoints: Path) -> None:
    """Each says what may be meant."""
    report = qvl_preflight.check(str(checkpoints / PLAIN), facts=machine(hardware), device_map=given)
    found = [finding.fix for finding in report.findings if finding.code == "QVL401"]
    assert found
    assert all(found)


def test_a_clean_call_is_told_once(checkpoints: Path) -> None:
    """Nothing was changed: there is no corrected call to speak of."""
    text = fix_kwargs(str(checkpoints / PLAIN), facts=machine("a100"), device_map={"": 0}).text()
    assert text.endswith("No argument was changed.\n")
    assert "corrected call" not in text


def test_an_edit_that_is_taken_back_is_told(checkpoints: Path) -> None:
    """Two rounds: another spelling, and then without what that asks for."""
    facts = machine("a100")
    fixed = fix_kwargs(str(checkpoints / PLAIN), facts=facts, purpose="inference", device_map={"": 0}, use_flash_attention_2=True)
    assert "attn_implementation" not in fixed
    assert [change.path for change in fixed.changes] == ["use_flash_attention_2"]
    assert "; then: " in fixed.changes[0].reason
