"""Two releases of one package: what is said of which, and what stays quiet."""

from __future__ import annotations

from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Severity
from qvl_preflight.testing import machine

CONDA = {"version": "3.10.14", "environment": "conda"}
SYSTEM = {"version": "3.10.14", "environment": "system"}


@pytest.mark.parametrize(
    ("copies", "python", "severity", "says"),
    [
        pytest.param(["2.4.1 (site-packages)", "2.1.2 (conda)"], CONDA, Severity.NOTE, "conda's records say 2.1.2", id="pip over conda"),
        pytest.param(["2.4.1 (site-packages)", "2.1.2 (site-packages)"], CONDA, Severity.WARNING, "lie in one folder", id="an upgrade that broke off"),
        pytest.param(["2.4.1 (user site)", "2.1.2 (site-packages)"], CONDA, Severity.WARNING, "packages of the user site hide", id="the user site over conda"),
        pytest.param(["2.4.1 (user site)", "2.1.2 (dist-packages)"], SYSTEM, None, "", id="the user site over the system's: how one replaces it"),
        pytest.param(["2.4.1 (elsewhere on sys.path)", "2.1.2 (site-packages)"], CONDA, None, "", id="a checkout that was put first on purpose"),
    ],
)  # fmt: skip
def test_what_is_said_of_two_torches(copies: list[str], python: dict[str, Any], severity: Severity | None, says: str) -> None:
    """The doctor, on a machine that is sound otherwise."""
    report = qvl_preflight.doctor(facts=machine("a100", packages_duplicates={"torch": copies}, python=python))
    found = [finding for finding in report.findings if finding.code == "QVL602"]
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    assert all(says in finding.message for finding in found)


def test_other_packages_are_nobodys_business() -> None:
    """What decides no load may lie about twice."""
    facts = machine("a100", packages_duplicates={"sphinx": ["7.0 (site-packages)", "6.0 (site-packages)"]})
    assert [finding for finding in qvl_preflight.doctor(facts=facts).findings if finding.code == "QVL602"] == []
