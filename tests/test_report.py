"""Reports and corrected kwargs as people meet them in Python: what they print, and what is said beside the findings."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight.facts import Facts
from qvl_preflight.testing import machine

GPTQ = "TheBloke/Llama-2-7B-Chat-GPTQ"


@pytest.fixture
def gptq(checkpoints: Path) -> str:
    return str(checkpoints / GPTQ)


def test_a_report_says_in_one_line_what_it_is(gptq: str) -> None:
    """The verdict and every finding, not all the facts of the machine."""
    assert repr(qvl_preflight.check(gptq, facts=machine())) == "<Report degraded: QVL402 warning>"
    assert repr(qvl_preflight.check(gptq, facts=machine(), device_map={"": 0})) == "<Report ok: no findings>"
    unknown = repr(qvl_preflight.check(gptq, facts=machine(gpus=None, driver=None), device_map="auto"))
    assert unknown.startswith("<Report incomplete: no findings; ")
    assert unknown.endswith(" not checked>")


def test_ok_is_the_verdict_ok(gptq: str) -> None:
    """Neither a warning nor an open question is ok."""
    assert qvl_preflight.check(gptq, facts=machine(), device_map={"": 0}).ok
    assert not qvl_preflight.check(gptq, facts=machine()).ok
    assert not qvl_preflight.check(gptq, facts=machine(gpus=None, driver=None), device_map="auto").ok
    assert not qvl_preflight.doctor(facts=Facts()).ok


def test_a_report_has_the_text_of_the_terminal(gptq: str) -> None:
    """print(report.text())"""
    report = qvl_preflight.check(gptq, facts=machine())
    assert report.text().startswith(f"DEGRADED  {gptq}")
    assert report.text().rstrip().endswith("111.8 GiB of 128.0 GiB RAM free")
    assert "\x1b" not in report.text()


def test_corrected_kwargs_show_what_was_changed(gptq: str) -> None:
    """In a log or a cell; the dict itself is first."""
    fixed = qvl_preflight.fix_kwargs(gptq, facts=machine(), purpose="qlora")
    assert repr(fixed).startswith("FixedKwargs({'device_map': {'': 0}, 'quantization_config': ")
    assert ", changed: device_map (QVL402), quantization_config (QVL801), left: nothing" in repr(fixed)
    assert "Corrected call\n  from_pretrained(\n" in fixed.text()
    assert copy.copy(fixed) == dict(fixed)
    unchanged = qvl_preflight.fix_kwargs(gptq, facts=machine("no-gpu", "seed"))
    assert repr(unchanged).endswith("changed: nothing, left: QVL104, QVL306)")


@pytest.mark.parametrize("purpose", [None, "lora"])
def test_required_edits_are_announced_where_the_purpose_was_not_named(gptq: str, purpose: str | None) -> None:
    """A person who reads "(required)" learns how to have it made, in the report and beside the corrected call."""
    fixed = qvl_preflight.fix_kwargs(gptq, facts=machine(), purpose=purpose, peft={"r": 8}, device_map={"": 0})
    said = [note for note in fixed.remaining.notes if "--purpose lora" in note]
    assert len(said) == (purpose is None)
    assert ("--purpose lora" in " ".join(fixed.text().split())) is (purpose is None)


def test_a_purpose_that_was_not_named_is_nobodys_business_where_nothing_waits_for_it(gptq: str) -> None:
    """No note on a call that is plain."""
    assert qvl_preflight.check(gptq, facts=machine(), device_map={"": 0}).notes == ()


def test_rules_that_were_left_out_are_counted(gptq: str) -> None:
    """A verdict of a few rules does not look like one of all."""
    narrow = qvl_preflight.check(gptq, facts=machine(), select=["QVL9"])
    every = len(qvl_preflight.check(gptq, facts=machine(), ignore=["QVL9"]).notes)
    assert narrow.verdict == "ok"
    assert every == 1
    assert "nothing was found against it by the rules that were asked" in " ".join(narrow.text().split())
    assert narrow.notes[0].endswith(" rules were left out by select and ignore.")
    assert qvl_preflight.check(gptq, facts=machine(), ignore=["QVL901"]).notes == ("1 rule was left out by select and ignore.",)


def test_the_doctor_counts_them_too() -> None:
    """Of the rules that judge a machine alone."""
    assert qvl_preflight.doctor(facts=machine()).notes == ()
    assert qvl_preflight.doctor(facts=machine(), ignore=["QVL101"]).notes == ("1 rule was left out by select and ignore.",)
    assert qvl_preflight.doctor(facts=machine(), ignore=["QVL401"]).notes == ()
    assert "by the rules that were asked" in qvl_preflight.doctor(facts=machine(), select=["QVL101"]).text()


def test_what_is_certain_will_raise_and_the_rest_may(gptq: str) -> None:
    """The word follows what is known, and how it is known is said where nothing else says it."""
    certain = qvl_preflight.check(gptq, facts=machine(), device_map="gpu")
    assert "The load will raise ValueError" in certain.text()
    assert "Known" not in certain.text()
    report = qvl_preflight.check(gptq, facts=machine("zero3"), purpose="full", device_map="auto")
    (zero3,) = (finding for finding in report.findings if finding.code == "QVL704")
    text = qvl_preflight.check(gptq, facts=machine("zero3"), purpose="full", device_map="auto", select=["QVL704"]).text()
    assert zero3.raises is not None
    assert not zero3.raises.certain
    assert "The load may raise ValueError" in text
    assert "will raise" not in text
