"""JSON schemas of what goes in and out, for people who write or read them with other tools."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from qvl_preflight import facts, report
from qvl_preflight.borders import schema
from qvl_preflight.fitting.answer import SCHEMA as FIT
from qvl_preflight.fitting.rooms import VERDICTS
from qvl_preflight.memory.result import MemoryEstimate

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def facts_schema() -> dict[str, Any]:
    """The schema of facts/1, made from the dataclasses that check it. Null stands for every unknown value."""
    made = schema(facts.Facts)
    return {"$schema": DIALECT, **made, "title": facts.SCHEMA, "description": "Null, or a missing key, is unknown."}


_TEXT = {"type": "string"}
_OPTIONAL_TEXT = {"type": ["string", "null"]}


def report_schema() -> dict[str, Any]:
    """The schema of report/1."""
    edit = _object({"key": _TEXT, "before": {}, "after": {}})
    fix = _object(
        {
            "title": _TEXT,
            "applicability": {"enum": [item.value for item in report.Applicability]},
            "edits": _list(edit),
            "commands": _list(_TEXT),
        }
    )
    finding = _object({
        "code": {"type": "string", "pattern": r"^QVL\d{3}$"}, "name": _TEXT, "topic": _TEXT, "severity": {"enum": [item.value for item in report.Severity]},
        "message": _TEXT, "stage": {"enum": ["import", "load", "forward", "train"]},
        "raises": {"anyOf": [_object({"type": _TEXT, "message": _TEXT}), {"type": "null"}]}, "fix": {"anyOf": [fix, {"type": "null"}]}, "docs": _TEXT,
    })  # fmt: skip
    change = _object(
        {"path": _TEXT, "before": {}, "after": {}, "code": finding["properties"]["code"], "applicability": _TEXT, "reason": _TEXT}
    )
    fixed = _object(
        {"kwargs": {"type": "object"}, "changes": _list(change), "withheld": _list(change), "remaining": _list(finding)}
    )
    whole = _object({
        "schema": {"const": report.SCHEMA}, "version": _TEXT, "model": _OPTIONAL_TEXT, "purpose": _OPTIONAL_TEXT,
        "verdict": {"enum": ["fails", "degraded", "incomplete", "ok"]}, "plan": {"type": ["object", "null"]}, "findings": _list(finding),
        "skipped": _list(_object({"code": _TEXT, "name": _TEXT, "reason": _TEXT})), "notes": _list(_TEXT), "facts": {"type": "object"},
    })  # fmt: skip
    whole["properties"]["fixed"] = fixed  # of check --fix alone
    whole["properties"]["loaded"] = {"type": "object"}  # of a loaded model alone
    return {"$schema": DIALECT, "title": report.SCHEMA, **whole}


_BYTES = {"type": ["integer", "null"]}


def fit_schema() -> dict[str, Any]:
    """The schema of fit/1. Null stands for every unknown value."""
    estimate = _object({
        **{field.name: _BYTES for field in fields(MemoryEstimate) if field.name.endswith("_bytes")}, "total_bytes": _BYTES, "modules": {"type": "object"},
        "devices": {"type": "object"}, "notes": _list(_TEXT),
    })  # fmt: skip
    verdicts = {"enum": [*VERDICTS, "unused"]}
    gpu = _object({
        "name": _TEXT, "device": _TEXT, "free_bytes": {"type": "integer"}, "total_bytes": {"type": "integer"}, "measured": {"type": "boolean"},
        "verdict": verdicts, "needs_bytes": _BYTES, "estimate": {"anyOf": [estimate, {"type": "null"}]},
    })  # fmt: skip
    spilled = _object({"to": {"enum": ["cpu", "disk"]}, "total_bytes": {"type": "integer"}, "modules": _list(_TEXT)})
    ranks = _object({"count": {"type": "integer"}, "on_host": {"type": "integer"}, "shared_by": _TEXT})
    sizes = ("ram_bytes", "mapped_bytes", "limit_bytes", "free_bytes", "disk_bytes", "disk_free_bytes")
    host = _object({
        **dict.fromkeys(sizes, _BYTES), "processes": {"type": "integer"}, "why": _list(_TEXT), "ram_verdict": verdicts, "disk_verdict": verdicts,
    })  # fmt: skip
    step = _object({"change": _TEXT, "saved_bytes": {"type": "integer"}})
    offer = _object({
        "change": _TEXT, "total_bytes": {"type": "integer"}, "saved_bytes": {"type": "integer"}, "same_result": {"type": "boolean"}, "steps": _list(step),
    })  # fmt: skip
    return {
        "$schema": DIALECT, "title": FIT, "description": "Null is unknown.",
        **_object({
            "schema": {"const": FIT}, "model": _TEXT, "call": _TEXT, "verdict": verdicts, "estimate": estimate, "gpus": _list(gpu),
            "device_map": {"type": ["object", "null"]}, "spilled": _list(spilled), "ranks": {"anyOf": [ranks, {"type": "null"}]}, "host": host,
            "longest_sequence": _BYTES, "sequence_ends_at_positions": {"type": "boolean"}, "largest_batch": _BYTES, "would_fit": _list(offer),
            "other_gpus": _list(_TEXT), "notes": _list(_TEXT),
        }),
    }  # fmt: skip


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}
