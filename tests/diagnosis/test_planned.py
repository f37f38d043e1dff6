"""What the plan says that a release raises is a symptom of its rule, and stands in one place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight.diagnosis.causes import causes, planned
from qvl_preflight.diagnosis.words import WORDS
from qvl_preflight.symptoms import as_symptom
from qvl_preflight.versions import parse

ROOT = Path(__file__).parents[2]
# Texts that rules of two topics share: the plan knows from the call which it is, a log does not.
SHARED = {"QVL104", "QVL204", "QVL301", "QVL311", "QVL314", "QVL323", "QVL406", "QVL804", "QVL935", "QVL936"}


def test_the_table_is_what_the_plan_says() -> None:
    """Regenerated from the stack it is the same."""
    ran = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "plan_messages.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(("code", "kind", "releases", "text"), planned())
def test_each_text_betrays_its_rule(code: str, kind: str, releases: str, text: str) -> None:
    """With anything in its gaps the rule's topic is named."""
    said = f"{'RuntimeError' if kind == '-' else kind}: {text.replace('{}', 'Xx')}"
    rule = next(cause for _, cause in causes() if cause.code == code)
    topics = [each.topic for each in qvl_preflight.diagnose(said)]
    assert rule.topic in topics
    assert topics[0] == rule.topic or code in SHARED or _shared(said, rule.topic, topics[0])


def _shared(said: str, topic: str, first: str) -> bool:
    """Is the one that comes first a text of the plan too, or of a symptom that somebody wrote for it?"""
    return {topic, first} <= {each.topic for each in qvl_preflight.diagnose(said)}


def test_releases_are_spans() -> None:
    """``package:since-until``."""
    for _, _, releases, _ in planned():
        if releases != "-":
            package, _, span = releases.partition(":")
            since, _, until = span.partition("-")
            assert package
            assert parse(since), releases
            assert not until or parse(until), releases


def test_nothing_is_written_twice() -> None:
    """An entry repeats no symptom of a rule, and what the libraries say is said once."""
    own = [
        (cause.code, as_symptom(each)) for cause in {id(cause): cause for _, cause in causes()}.values() for each in cause.symptoms
    ]
    patterns = [(symptom.text, symptom.type, symptom.frames, symptom.beside, code) for code, symptom in (*own, *WORDS)]
    assert len(patterns) == len(set(patterns)), {each for each in patterns if patterns.count(each) > 1}


def test_a_release_that_words_it_otherwise_is_less_likely() -> None:
    """The log prints 5.23, and the text is of releases before 4.38."""
    text = "AttributeError: 'dict' object has no attribute 'get_loading_attributes'"
    same = "ValueError: You can't pass `load_in_8bit` or any other `BitsAndBytesConfig` argument as a kwarg when passing"
    assert qvl_preflight.diagnose(text)[0].topic == "quant-config-conflict"
    assert qvl_preflight.diagnose(same)[0].topic == "duplicate-quant-kwargs"
