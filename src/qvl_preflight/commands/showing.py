"""Prints a report, and turns what it holds into an exit code."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from qvl_preflight import cli_output

if TYPE_CHECKING:
    from qvl_preflight.report import Report


def show(report: Report, arguments: argparse.Namespace) -> int:
    report = report.with_notes(arguments.notes)
    if arguments.json:
        cli_output.write(json.dumps(report.to_dict(), indent=1))
    else:
        from qvl_preflight.render.terminal import print_report

        color = False if arguments.no_color else None
        cli_output.write_by(lambda stream: print_report(report, stream, color=color, quiet=arguments.quiet))
    return exit_code(report, arguments.fail_on)


def exit_code(report: Report, fail_on: str) -> int:
    from qvl_preflight.report import Severity

    return 1 if report.at_least(Severity(fail_on)) else 0
