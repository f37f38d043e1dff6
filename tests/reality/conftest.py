"""Says at the end what the docs quote: how many predictions held, how many corrected calls did what was asked."""

from __future__ import annotations

import pytest

_TITLES = {
    "test_plan_agrees_with_the_stack": "calls whose outcome was as predicted",
    "test_plan_agrees_where_a_package_is_missing": "the same, with a package missing",
    "test_fixed_call_does_what_was_asked": "corrected calls that did what was asked",
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each kind of test."""
    for name, title in _TITLES.items():
        passed, failed = (
            sum(name in report.nodeid for report in terminalreporter.stats.get(kind, ())) for kind in ("passed", "failed")
        )
        terminalreporter.write_line(f"{title}: {passed} of {passed + failed}")
