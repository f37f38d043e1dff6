"""Fixing: which edits are applied, in which order, and when it stops."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight import engine, strict
from qvl_preflight.exceptions import FixDidNotConverge, InputError
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.rule import Rule, all_rules
from qvl_preflight.testing import HARDWARE, machine

GPTQ, PLAIN, QWEN_VL = "Qwen/Qwen2-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2-7B-Instruct", "Qwen/Qwen-VL-Chat-Int4"
LLAMA = "TheBloke/Llama-2-7B-Chat-GPTQ"  # a model type that every release knows
SEED_CONFIG = {"__class__": "GPTQConfig", "bits": 4, "disable_exllama": True}


def fixed(
    root: Path, model: str, hardware: str, stack: str, purpose: str | None = None, **kwargs: Any
) -> qvl_preflight.FixedKwargs:
    return qvl_preflight.fix_kwargs(str(root / model), facts=machine(hardware, stack), purpose=purpose, **kwargs)


def test_the_archetype_is_named_and_its_crash_is_not_moved(checkpoints: Path) -> None:
    """QwenLM/Qwen-VL#289: the assertion, then what training would have met. An argument mends the placement alone, so none is changed."""
    done = fixed(
        checkpoints, QWEN_VL, "a100", "seed", "qlora", device_map=None, trust_remote_code=True, quantization_config=SEED_CONFIG
    )
    first, second = done.report.findings
    assert (first.code, first.raises.type if first.raises else None) == ("QVL306", "AssertionError")
    assert (second.code, second.fix.commands if second.fix else None) == ("QVL803", ("pip install 'optimum>=1.14,<1.23'",))
    assert done == {"device_map": None, "trust_remote_code": True, "quantization_config": SEED_CONFIG}
    assert (done.changes, [(change.path, change.after) for change in done.withheld]) == ((), [("device_map", {"": 0})])
    assert [finding.code for finding in done.remaining.findings] == ["QVL803"]


def test_with_the_optimum_that_the_report_names_the_call_is_clean(checkpoints: Path) -> None:
    """The display command leads to a stack on which the edits suffice."""
    done = fixed(
        checkpoints,
        QWEN_VL,
        "a100",
        "seed-optimum-1.16",
        "qlora",
        device_map=None,
        trust_remote_code=True,
        quantization_config=SEED_CONFIG,
    )
    assert done["device_map"] == {"": 0}
    assert done.remaining.findings == ()
    assert done.remaining.verdict == "ok"


@pytest.mark.parametrize(
    ("hardware", "device_map", "ordinal"),
    [
        pytest.param("a100", None, 0, id="one GPU: that one"),
        pytest.param("two-gpus", None, 0, id="two GPUs, one process: the first"),
        pytest.param("rank-1-of-2", None, 1, id="the second rank: its own GPU"),
    ],
)
def test_placement_by_launch(checkpoints: Path, hardware: str, device_map: Any, ordinal: int) -> None:
    """The GPU that belongs to the process is named."""
    assert fixed(checkpoints, GPTQ, hardware, "today", device_map=device_map)["device_map"] == {"": ordinal}


def test_the_current_device_of_a_process_that_has_initialised_cuda(checkpoints: Path) -> None:
    """A person who chose a device with torch.cuda.set_device gets that one."""
    facts = machine("two-gpus", torch={"cuda_build": "13.0", "hip_build": False, "current_device": 1})
    assert qvl_preflight.fix_kwargs(str(checkpoints / GPTQ), facts=facts)["device_map"] == {"": 1}


def test_the_first_gpu_with_room(checkpoints: Path) -> None:
    """A GPU that others fill is passed over."""
    gpus = copy.deepcopy(HARDWARE["two-gpus"]["gpus"])
    gpus[0]["free_bytes"] = 1_000_000_000
    assert qvl_preflight.fix_kwargs(str(checkpoints / GPTQ), facts=machine("two-gpus", gpus=gpus))["device_map"] == {"": 1}


@pytest.mark.parametrize("hardware", ["zero3", "fsdp"])
def test_sharding_launches_get_no_device_map(checkpoints: Path, hardware: str) -> None:
    """ZeRO-3 and FSDP place the weights themselves."""
    launch = {**HARDWARE["rank-1-of-2"]["launch"], "fsdp": True}
    facts = machine("zero3") if hardware == "zero3" else machine("two-gpus", launch=launch)
    assert "device_map" not in qvl_preflight.fix_kwargs(str(checkpoints / GPTQ), facts=facts, purpose="qlora")


def test_a_workable_choice_is_never_overridden(checkpoints: Path) -> None:
    """device_map="cpu" on a model that runs there stays."""
    done = fixed(checkpoints, GPTQ, "a100", "today", "inference", device_map="cpu")
    assert done == {"device_map": "cpu"}
    assert done.report.verdict == "ok"


@pytest.mark.parametrize("purpose", ["qlora", None])
def test_required_edits_need_a_named_purpose(checkpoints: Path, purpose: str | None) -> None:
    """A kernel is changed only where the person said what for; from peft alone the purpose is inferred, and said."""
    done = qvl_preflight.fix_kwargs(str(checkpoints / GPTQ), facts=machine(), purpose=purpose, peft={"r": 8}, device_map={"": 0})
    assert ("quantization_config" in done) is (purpose is not None)
    assert bool(done.report.notes) is (purpose is None)


@pytest.mark.parametrize(
    ("stack", "given", "expected"),
    [
        pytest.param("seed-optimum-1.16", None, {"bits": 4, "disable_exllama": True}, id="4.32: disable_exllama"),
        pytest.param("legacy", None, {"bits": 4, "use_exllama": False}, id="4.37: use_exllama"),
        pytest.param("today", None, {"bits": 4, "backend": "auto_trainable"}, id="5.x: backend"),
        pytest.param(
            "legacy", {"bits": 4, "disable_exllama": False}, {"bits": 4, "use_exllama": False}, id="4.37: never both spellings"
        ),
        pytest.param(
            "today", {"bits": 4, "backend": "marlin"}, {"bits": 4, "backend": "auto_trainable"}, id="5.x: a kernel that was named"
        ),
    ],
)
def test_a_kernel_that_trains_as_each_release_spells_it(
    checkpoints: Path, stack: str, given: Any, expected: dict[str, Any]
) -> None:
    """The edit that makes 4-bit GPTQ trainable."""
    kwargs = (
        {"quantization_config": {"__class__": "GPTQConfig", **given}}
        if given
        else {"quantization_config": {"__class__": "GPTQConfig", "bits": 4}}
    )
    done = fixed(checkpoints, LLAMA, "a100", stack, "qlora", device_map={"": 0}, **kwargs)
    assert done["quantization_config"] == {"__class__": "GPTQConfig", **expected}
    assert done.remaining.findings == ()


def test_nothing_that_was_passed_is_mutated(checkpoints: Path) -> None:
    """Kwargs and what is in them stay as they were."""
    kwargs = {"device_map": None, "quantization_config": {"__class__": "GPTQConfig", "bits": 4}, "max_memory": {0: "1GB"}}
    before = copy.deepcopy(kwargs)
    fixed(checkpoints, GPTQ, "a100", "today", "qlora", **kwargs)
    assert kwargs == before


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_fixing_twice_changes_nothing(rule: Rule, checkpoints: Path) -> None:
    """fix(fix(x)) == fix(x), for the bad call of every page."""
    from rule_pages import examples, kwargs_of, model_of

    bad, _ = examples(rule)
    model = model_of(bad, checkpoints)
    root = checkpoints if (checkpoints / model).is_dir() else Path()
    once = fixed(root, model, bad.hardware, bad.stack, bad.purpose, **kwargs_of(bad, checkpoints))
    twice = fixed(root, model, bad.hardware, bad.stack, bad.purpose, **once)
    assert (dict(twice), twice.changes) == (dict(once), ())


def _rule(code: str, name: str, judge_: Any, severity: Severity = Severity.ERROR) -> Rule:
    judge_.__name__ = name
    return Rule(code, severity, "test", (), False, judge_)


def test_a_rule_that_breaks_becomes_a_finding_and_the_others_run(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QVL000 names the rule; it is a note, since it says nothing about the call."""
    monkeypatch.setattr(strict, "ON", False)

    def broken(request: Any) -> Iterator[Finding]:
        raise KeyError("oops")
        yield

    def fine(request: Any) -> Iterator[Finding]:
        yield Finding("all is not well")

    case = qvl_preflight.api.situation(str(checkpoints / PLAIN), None, None, None, None, machine(), {})
    report = engine.check(case, (_rule("QVL998", "broken", broken), _rule("QVL999", "fine", fine)))
    assert [finding.code for finding in report.findings] == ["QVL999", "QVL000"]
    assert "QVL998" in report.findings[1].message


def test_edits_that_undo_one_another_are_a_bug_with_its_own_error(checkpoints: Path) -> None:
    """Ten rounds, then an error that names the edits."""

    def swinging(request: Any) -> Iterator[Finding]:
        other = "cpu" if request.device_map != "cpu" else "auto"
        yield Finding("never content", fix=Fix("swing", Applicability.SAFE, (Edit("device_map", request.device_map, other),)))

    case = qvl_preflight.api.situation(str(checkpoints / PLAIN), None, None, None, None, machine(), {})
    with pytest.raises(FixDidNotConverge, match="QVL999 device_map"):
        engine.fix(case, [_rule("QVL999", "swinging", swinging)])


def test_of_two_edits_of_one_key_the_earlier_finding_wins(checkpoints: Path) -> None:
    """The graver finding decides; the other is met again in the next round, if it still stands."""

    def first(request: Any) -> Iterator[Finding]:
        if request.device_map is None:
            yield Finding("first", fix=Fix("one", Applicability.SAFE, (Edit("device_map", None, "cpu"),)))

    def second(request: Any) -> Iterator[Finding]:
        if request.device_map is None:
            yield Finding("second", fix=Fix("two", Applicability.SAFE, (Edit("device_map", None, "auto"),)))

    case = qvl_preflight.api.situation(str(checkpoints / PLAIN), None, None, None, None, machine(), {})
    done = engine.fix(case, [_rule("QVL997", "second", second, Severity.WARNING), _rule("QVL998", "first", first)])
    assert [(change.after, change.code) for change in done.changes] == [("cpu", "QVL998")]


def test_unknown_facts_make_the_verdict_incomplete_and_are_listed(checkpoints: Path) -> None:
    """Nothing is known of the GPUs: nothing is claimed about them."""
    facts = machine("a100", gpus=None, driver=None)
    report = qvl_preflight.check(str(checkpoints / GPTQ), facts=facts, device_map="auto")
    assert (report.verdict, report.findings) == ("incomplete", ())
    assert any(item.matters and "facts" in item.reason for item in report.skipped)


def test_select_and_ignore_by_code_prefix_name_and_topic(checkpoints: Path) -> None:
    """One vocabulary for all selections; what names nothing is an error."""
    facts, model = machine(), str(checkpoints / GPTQ)
    assert [f.code for f in qvl_preflight.check(model, facts=facts).findings] == ["QVL402"]
    for selector in ("QVL4", "quantized-weights-on-the-cpu", "gptq-on-cpu"):
        assert qvl_preflight.check(model, facts=facts, select=[selector]).findings
        assert not qvl_preflight.check(model, facts=facts, ignore=[selector]).findings
    with pytest.raises(InputError, match="no rule's code"):
        qvl_preflight.check(model, facts=facts, select=["QVL4O2"])


def test_a_model_that_is_no_path_is_an_input_error() -> None:
    """Neither a name nor a loaded model; it is said in one line."""
    with pytest.raises(InputError, match="expected a folder, a hub id, or a model that is loaded"):
        qvl_preflight.check(object(), facts=machine())
    with pytest.raises(InputError, match="expected a folder or a hub id"):
        qvl_preflight.fix_kwargs(object(), facts=machine())  # type: ignore[arg-type]
