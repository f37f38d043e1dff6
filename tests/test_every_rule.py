"""What holds for every rule, said once."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight import api, engine
from qvl_preflight.facts import field_names
from qvl_preflight.report import Applicability, Report, Severity
from qvl_preflight.rule import Rule, all_rules
from qvl_preflight.symptoms import as_symptom
from qvl_preflight.testing import machine
from rule_pages import Example, examples, kwargs_of, model_of, peft_of

RULES = all_rules()
THEMES = {
    "cuda": "1", "devices": "2", "quantization": "3", "placement": "4", "spread": "4", "split": "4", "offload": "4", "maps": "4", "memory": "5", "packages": "6", "twice": "6", "skew": "6", "launch": "7",
    "training": "8", "call": "9", "files": "9",
}  # fmt: skip
OFFERED = {*field_names(), "facts", "request", "plan", "devices", "packages", "checkpoint", "situation", "remedies"}
every_rule = pytest.mark.parametrize("rule", RULES, ids=[f"{rule.code}-{rule.name}" for rule in RULES])


def report_of(example: Example, root: Path) -> Report:
    facts = machine(example.hardware, example.stack)
    return qvl_preflight.check(
        model_of(example, root), facts=facts, purpose=example.purpose, loader=example.loader, trainer=example.trainer, peft=peft_of(example),
        **kwargs_of(example, root),
    )  # fmt: skip


@every_rule
def test_code_lies_in_the_range_of_its_theme(rule: Rule) -> None:
    """A reader finds a rule's file by its code."""
    theme = rule.judge.__module__.removeprefix("qvl_preflight.rules.").partition(".")[0]
    assert rule.code[3] == THEMES[theme]


@every_rule
def test_page_is_complete(rule: Rule) -> None:
    """Each page has the same sections, and a one-line summary that ends like a sentence."""
    assert re.findall(r"^## (.*)$", rule.page, re.MULTILINE) == ["What happens", "Example", "Fix safety"]
    assert rule.summary.endswith((".", ":", "?"))
    assert len(rule.summary) <= 100


@every_rule
def test_name_says_the_problem(rule: Rule) -> None:
    """Names are lower case words with hyphens, short enough for a table."""
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name)
    assert len(rule.name) <= 32


@every_rule
def test_symptoms_compile_and_topic_is_a_slug(rule: Rule) -> None:
    """Symptoms are patterns; topics are shared slugs."""
    assert all(re.compile(as_symptom(symptom).text) for symptom in rule.symptoms)
    assert re.fullmatch(r"[a-z0-9-]+", rule.topic)


@every_rule
def test_parameters_name_what_the_engine_offers(rule: Rule) -> None:
    """The signature is the dependency list."""
    assert set(rule.needs) <= OFFERED
    assert set(rule.needs) == set(inspect.signature(rule.judge).parameters)


@every_rule
def test_example_is_found(rule: Rule, checkpoints: Path) -> None:
    """The bad call of the page raises exactly this code first, at the rule's severity."""
    bad, _ = examples(rule)
    report = report_of(bad, checkpoints)
    codes = [finding.code for finding in report.findings]
    assert codes[:1] == [rule.code], codes
    assert report.findings[0].severity is rule.severity


@every_rule
def test_counter_example_is_clean(rule: Rule, checkpoints: Path) -> None:
    """The good call of the page has no finding at all."""
    _, good = examples(rule)
    report = report_of(good, checkpoints)
    assert [(finding.code, finding.message) for finding in report.findings] == []


@every_rule
def test_fix_leads_from_the_example_to_a_clean_call(rule: Rule, checkpoints: Path) -> None:
    """Where a rule promises an edit, applying it makes its own finding go away, and fixing again changes nothing."""
    bad, _ = examples(rule)
    case = api.situation(
        model_of(bad, checkpoints), bad.purpose or "inference", bad.loader, peft_of(bad), bad.trainer,
        machine(bad.hardware, bad.stack), kwargs_of(bad, checkpoints),
    )  # fmt: skip
    fixed = engine.fix(case, RULES, unsafe=True)
    promised = fixed.before.findings[0].fix
    if promised is None or promised.applicability is Applicability.DISPLAY:
        assert not rule.fixable or promised is None
        return
    assert rule.code not in {finding.code for finding in fixed.after.findings}
    assert not [finding for finding in fixed.after.at_least(Severity.ERROR) if finding.fix and finding.fix.edits]
    again = engine.fix(fixed.situation, RULES, unsafe=True)
    assert again.changes == ()


@every_rule
def test_fix_safety_says_what_the_fix_is(rule: Rule, checkpoints: Path) -> None:
    """The page and the fix use the same word: safe, required, unsafe, or shown."""
    bad, _ = examples(rule)
    fix = report_of(bad, checkpoints).findings[0].fix
    word = rule.page.partition("## Fix safety")[2].strip().split()[0].strip(":,").lower()
    expected = {"safe": "safe", "required": "required", "unsafe": "unsafe", "shown": "display", "none": None}[word]
    assert (fix.applicability.value if fix else None) == expected


COMMANDS = {
    "accelerate", "apptainer", "cd", "conda", "docker", "export", "hf", "huggingface-cli", "import", "ldconfig", "ln", "ls", "lsmod", "lspci", "mokutil", "nvidia-smi",
    "nvidia-smi.exe", "pip", "podman", "ps", "python", "qvl-preflight", "sbatch", "srun", "sudo", "torchrun", "unset", "wsl.exe",
}  # fmt: skip


@every_rule
def test_what_is_to_be_run_are_commands(rule: Rule, checkpoints: Path) -> None:
    """Text that belongs into a script or a file stands in the title; a command may set variables before its name."""
    bad, _ = examples(rule)
    for finding in report_of(bad, checkpoints).findings:
        for command in finding.fix.commands if finding.fix else ():
            first = next(word for word in command.split() if not re.match(r"[A-Z_]+=", word))
            assert first in COMMANDS, command


def test_codes_are_unique_and_there_are_enough() -> None:
    """Codes are never reused."""
    codes = [rule.code for rule in RULES]
    assert len(set(codes)) == len(codes) >= 10
