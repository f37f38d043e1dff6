"""The schemas describe what is really written: checked here against real facts and reports, without a schema library."""

from __future__ import annotations

import json
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.facts import SCHEMA as FACTS
from qvl_preflight.facts import Facts, Gpu, field_names
from qvl_preflight.report import SCHEMA as REPORT
from qvl_preflight.report import Applicability, Severity
from qvl_preflight.schemas import facts_schema, report_schema
from qvl_preflight.testing import HARDWARE, machine

_PYTHON: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
}
_KNOWN = {
    "$schema", "$ref", "$defs", "definitions", "title", "description", "type", "properties", "required", "additionalProperties", "items", "prefixItems",
    "minItems", "maxItems", "anyOf", "enum", "const", "pattern",
}  # fmt: skip


def misfits(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str = "$") -> list[str]:
    """The places where a value does not fit a schema; a keyword that is not understood here counts as one."""
    found = [f"{path}: keyword {name}" for name in schema.keys() - _KNOWN]
    if "$ref" in schema:
        _, group, name = schema["$ref"].split("/")
        found += misfits(value, root[group][name], root, path)
    if "anyOf" in schema and all(misfits(value, option, root, path) for option in schema["anyOf"]):
        found.append(f"{path}: {value!r} fits no alternative")
    if "const" in schema and (value != schema["const"] or type(value) is not type(schema["const"])):
        found.append(f"{path}: {value!r} is not {schema['const']!r}")
    if "enum" in schema and not any(value == item and type(value) is type(item) for item in schema["enum"]):
        found.append(f"{path}: {value!r} is none of {schema['enum']}")
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(isinstance(value, _PYTHON[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in kinds):
        return [*found, f"{path}: {value!r} is no {kinds}"]
    if isinstance(value, dict):
        found += [f"{path}: lacks {name}" for name in schema.get("required", []) if name not in value]
        rest = schema.get("additionalProperties", {})
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key, rest if isinstance(rest, dict) else {})
            found += misfits(item, inner, root, f"{path}.{key}")
    if isinstance(value, list):
        fixed = schema.get("prefixItems", schema["items"] if isinstance(schema.get("items"), list) else None)
        each = fixed or [schema.get("items", {})] * len(value)
        found += [
            miss
            for index, (item, inner) in enumerate(zip(value, each, strict=False))
            for miss in misfits(item, inner, root, f"{path}.{index}")
        ]
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{path}: {len(value)} items")
    return found


def test_the_checker_finds_what_does_not_fit() -> None:
    """The tests below would prove nothing if this found nothing."""
    schema = {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"const": False}]}}},
    }
    assert misfits({"a": [1, False]}, schema, schema) == []
    assert len(misfits({"a": [1, True, "x"]}, schema, schema)) == 2
    assert misfits({}, schema, schema) == ["$: lacks a"]
    assert misfits({"a": 1}, {"oneOf": []}, {}) == ["$: keyword oneOf"]


def parts(schema: dict[str, Any]) -> dict[str, Any]:
    """The named records of a schema."""
    found: dict[str, Any] = schema["$defs"]
    return found


def sections(schema: dict[str, Any]) -> dict[str, Any]:
    """The properties at the top of facts."""
    found: dict[str, Any] = schema["properties"]
    return found


@pytest.mark.parametrize(("schema", "name"), [(facts_schema(), FACTS), (report_schema(), REPORT)], ids=["facts", "report"])
def test_a_schema_is_json_and_named(schema: dict[str, Any], name: str) -> None:
    """It can be printed, says which dialect it is in and which release of the format it describes."""
    assert json.loads(json.dumps(schema)) == schema
    assert schema["title"] == name
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("schema", [facts_schema(), report_schema()], ids=["facts", "report"])
def test_a_schema_keeps_to_its_dialect(schema: dict[str, Any]) -> None:
    """A list under ``items`` is draft 7's spelling: 2020-12 has ``prefixItems`` for it, and refuses the other."""
    modern = "2020-12" in schema["$schema"]

    def spelt_wrongly(value: Any, path: str) -> list[str]:
        if isinstance(value, dict):
            wrong = [path] if (isinstance(value.get("items"), list) and modern) or ("prefixItems" in value and not modern) else []
            return wrong + [found for key, item in value.items() for found in spelt_wrongly(item, f"{path}.{key}")]
        return (
            [found for index, item in enumerate(value) for found in spelt_wrongly(item, f"{path}.{index}")]
            if isinstance(value, list)
            else []
        )

    assert spelt_wrongly(schema, "$") == []


def test_every_section_is_described() -> None:
    """As it is written; the record that stands for the unknown inside is not shown."""
    schema = facts_schema()
    assert set(sections(schema)) == {*field_names(), "packages_complete", "unknown"}
    assert "Unknown" not in parts(schema)
    assert "/Unknown" not in json.dumps(schema)


@pytest.mark.parametrize("section", field_names())
def test_null_is_allowed_for_an_unknown_section(section: str) -> None:
    """Null stands for every unknown value."""
    schema = facts_schema()
    assert misfits(None, sections(schema)[section], schema) == []


def test_null_is_allowed_for_every_unknown_field() -> None:
    """In each record all fields may be null but the numbers by which a device or a process is known."""
    schema = facts_schema()
    records = {name: record for name, record in parts(schema).items() if name != "Facts"}
    assert set(records) == {"Python", "Torch", "Driver", "Gpu", "Launch", "Host", "Build", "Nvidia", "Process", "Slice"}
    for name, record in records.items():
        for field, described in record["properties"].items():
            assert bool(misfits(None, described, schema)) is ((name, field) in (("Gpu", "index"), ("Process", "pid"))), (
                f"{name}.{field}"
            )


@pytest.mark.parametrize("hardware", HARDWARE)
def test_facts_as_written_fit_their_schema(hardware: str) -> None:
    """Those of every named machine do."""
    schema = facts_schema()
    assert misfits(json.loads(json.dumps(machine(hardware).to_dict())), schema, schema) == []


@pytest.mark.parametrize("facts", [Facts(), Facts(gpus=(Gpu(0),), packages={"peft": False}), Facts(driver=None, gpus=())], ids=["nothing is known", "little is known", "no driver"])  # fmt: skip
def test_facts_of_which_little_is_known_fit_too(facts: Facts) -> None:
    """Null, false and empty lists are in the schema."""
    schema = facts_schema()
    assert misfits(json.loads(json.dumps(facts.to_dict())), schema, schema) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"gpus": "A100"}, id="devices that are a text"),
        pytest.param({"gpus": [{"name": "A100"}]}, id="a device without its index"),
        pytest.param({"gpus": [{"index": 0, "capability": [8]}]}, id="half of a capability"),
        pytest.param({"torch": {"cuda_build": True}}, id="a build that is true"),
        pytest.param({"packages": {"torch": 2}}, id="a version that is a number"),
        pytest.param({"host": {"cpu_count": "16"}}, id="a number that is a text"),
    ],
)
def test_facts_of_another_shape_do_not_fit(change: dict[str, Any]) -> None:
    """The schema says no: it is not so wide that anything fits."""
    schema = facts_schema()
    assert misfits({**machine().to_dict(), **change}, schema, schema)


def test_a_report_has_the_keys_of_its_schema() -> None:
    """No more and no fewer, in the schema's order; what ``check --fix`` and a loaded model add comes last."""
    report = qvl_preflight.doctor(facts=machine("a100")).to_dict()
    assert [*report, "fixed", "loaded"] == list(report_schema()["properties"])
    assert list(report) == report_schema()["required"]


@pytest.mark.parametrize("hardware", HARDWARE)
def test_a_report_fits_its_schema(hardware: str) -> None:
    """What the doctor finds on every named machine does; its plan is null where no model was named."""
    report = json.loads(json.dumps(qvl_preflight.doctor(facts=machine(hardware)).to_dict()))
    schema = report_schema()
    assert misfits(report, schema, schema) == []
    assert report["plan"] is None


def test_findings_and_fixes_have_the_keys_of_their_schemas() -> None:
    """Taken from a machine on which something is found, and something can be done."""
    report = qvl_preflight.doctor(facts=machine("hidden")).to_dict()
    finding = report_schema()["properties"]["findings"]["items"]
    assert report["findings"]
    for written in report["findings"]:
        assert list(written) == list(finding["properties"])
    fixes = [written["fix"] for written in report["findings"] if written["fix"]]
    assert fixes
    assert all(list(fix) == list(finding["properties"]["fix"]["anyOf"][0]["properties"]) for fix in fixes)


def test_a_report_of_another_shape_does_not_fit() -> None:
    """A verdict or severity that does not exist, or a key that is not there, is no report."""
    schema = report_schema()
    report = qvl_preflight.doctor(facts=machine("hidden")).to_dict()
    assert misfits({**report, "verdict": "fine"}, schema, schema)
    assert misfits({key: item for key, item in report.items() if key != "skipped"}, schema, schema)
    report["findings"][0]["severity"] = "fatal"
    assert misfits(report, schema, schema)


def test_a_reports_words_are_those_of_the_records() -> None:
    """A severity or applicability that is added appears in the schema by itself."""
    finding = report_schema()["properties"]["findings"]["items"]["properties"]
    assert finding["severity"]["enum"] == [severity.value for severity in Severity]
    assert finding["fix"]["anyOf"][0]["properties"]["applicability"]["enum"] == [item.value for item in Applicability]
