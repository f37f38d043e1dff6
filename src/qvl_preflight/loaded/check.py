"""``check(model)`` of a model that is loaded: looks, judges, and makes the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from qvl_preflight import strict
from qvl_preflight.facts import Facts
from qvl_preflight.judge import ordered
from qvl_preflight.loaded.findings import JUDGES
from qvl_preflight.loaded.gradients import small_step
from qvl_preflight.loaded.look import look
from qvl_preflight.loaded.record import Loaded
from qvl_preflight.report import Finding, Report, Severity, Skipped, is_selected
from qvl_preflight.request import Request, known_purpose, to_record
from qvl_preflight.unknown import Unknown


def check_loaded(
    model: Any, facts: Facts, *, purpose: str | None = None, trainer: Mapping[str, Any] | None = None,
    gradients: bool | Mapping[str, Any] = False, select: Iterable[str] = (), ignore: Iterable[str] = (), notes: tuple[str, ...] = (),
) -> Report:  # fmt: skip
    """The report on a loaded model. Raises InputError for what is no model, or a purpose that is none."""
    known_purpose(purpose)
    loaded = look(model)
    found = None if trainer is None else {str(key): to_record(value) for key, value in trainer.items()}
    request = Request(loaded.name, {}, purpose or _inferred(loaded, found), purpose is not None, trainer=found)
    if gradients is not False:
        loaded = replace(loaded, gradients=small_step(model, loaded, gradients if isinstance(gradients, Mapping) else None))
    findings, skipped = judged(loaded, request)
    kept = [finding for finding in findings if _wanted(finding, tuple(select), tuple(ignore))]
    left_out = len(findings) - len(kept)
    return Report(ordered(kept), tuple(skipped), facts, None, request, notes, left_out, loaded)


def _inferred(loaded: Loaded, trainer: Mapping[str, Any] | None) -> str:
    """Adapters that may be trained are there to be trained; a Trainer trains."""
    if loaded.adapters and (loaded.trained or trainer is not None):
        return "qlora" if loaded.quantized else "lora"
    return "inference" if trainer is None else "full"


def judged(loaded: Loaded, request: Request) -> tuple[list[Finding], list[Skipped]]:
    """Every judgement. One of ours that breaks is said as a note."""
    findings: list[Finding] = []
    skipped = []
    for judge in JUDGES:
        try:
            findings += judge(loaded, request)
        except Exception as error:
            if strict.ON:
                raise
            name = judge.__name__.replace("_", "-")
            message = f"the judgement {name} failed: {type(error).__name__}: {error}; the others were made"
            findings.append(Finding(message, code="QVL000", name="rule-failed", topic="internal", severity=Severity.NOTE))
    if isinstance(loaded.gradients, Unknown):
        skipped.append(Skipped("QVL854", "whether gradients arrive", loaded.gradients.reason, matters=True))
    return findings, skipped


def _wanted(finding: Finding, select: tuple[str, ...], ignore: tuple[str, ...]) -> bool:
    return (not select or is_selected(finding, select)) and not is_selected(finding, ignore)
