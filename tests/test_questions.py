"""What people read where a step of the plan could not be worked out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.planner import STEPS
from qvl_preflight.questions import QUESTIONS

GPTQ = "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"
STEPS_BY_NAME = {step.__name__ for _, step in STEPS}


@pytest.mark.parametrize("name", sorted(STEPS_BY_NAME))
def test_every_step_has_its_question_in_words(name: str) -> None:
    """A report never shows the name of a function."""
    assert name in QUESTIONS, f"say in questions.py what {name} answers"


def test_no_question_is_left_over() -> None:
    """A step that is gone or renamed takes its question with it; the others are codes of rules."""
    assert {name for name in QUESTIONS if not name.startswith("QVL")} == STEPS_BY_NAME


@pytest.mark.parametrize("text", sorted(set(QUESTIONS.values())))
def test_questions_can_follow_a_colon(text: str) -> None:
    """They read "not known: whether …"."""
    assert text.split()[0] in ("whether", "where", "which", "what", "in")


@pytest.mark.parametrize("facts", [{}, {"packages": {"transformers": False}}, {"packages": {"torch": None}}])
def test_what_is_not_checked_is_said_in_words(facts: dict[str, Any], checkpoints: Path) -> None:
    """No label of the code under "Not checked"."""
    report = qvl_preflight.check(str(checkpoints / GPTQ), facts=facts, purpose="qlora", device_map="auto")
    for item in report.skipped:
        assert item.code.startswith("QVL") or item.name == QUESTIONS[item.code]
    assert "not worked out" not in report.text()


def test_a_step_runs_once() -> None:
    """What is listed twice would be said twice."""
    assert len(STEPS) == len(set(STEPS))
