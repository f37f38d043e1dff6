"""JSON schemas of what goes in and out, for people who write or read them with other tools."""

from __future__ import annotations

from typing import Any

from qvl_preflight import facts, report


def facts_schema() -> dict[str, Any]:
    """The schema of facts/1, made from the dataclasses that check it. Null stands for every unknown value."""
    from qvl_preflight.borders import schema

    made = _with_nulls(schema(facts.Facts))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": facts.SCHEMA,
        "description": "Null, or a missing key, is unknown.",
        **{k: v for k, v in made.items() if k != "title"},
    }


def _with_nulls(value: Any) -> Any:
    """In JSON an unknown value is null; the record that stands for it inside is not shown."""
    if isinstance(value, dict):
        if str(value.get("$ref", "")).endswith("/Unknown"):
            return {"type": "null"}
        return {key: _with_nulls(item) for key, item in value.items() if key not in ("default", "Unknown")}
    return [_with_nulls(item) for item in value] if isinstance(value, list) else value


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
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": report.SCHEMA,
        **_object({
            "schema": {"const": report.SCHEMA}, "version": _TEXT, "model": _OPTIONAL_TEXT, "purpose": _OPTIONAL_TEXT,
            "verdict": {"enum": ["fails", "degraded", "incomplete", "ok"]}, "plan": {"type": ["object", "null"]}, "findings": _list(finding),
            "skipped": _list(_object({"code": _TEXT, "name": _TEXT, "reason": _TEXT})), "notes": _list(_TEXT), "facts": {"type": "object"},
        }),
    }  # fmt: skip


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}
