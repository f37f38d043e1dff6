"""JSON schemas of what goes in and out, for people who write or read them with other tools."""

from __future__ import annotations

from typing import Any

from qvl_preflight import facts, report
from qvl_preflight.borders import schema

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
    return {"$schema": DIALECT, "title": report.SCHEMA, **whole}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}
