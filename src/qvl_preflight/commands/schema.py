"""``qvl-preflight schema``: the JSON schema of facts, or of a report."""

from __future__ import annotations

import argparse
import json

from qvl_preflight import cli_output
from qvl_preflight.schemas import facts_schema, report_schema


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", choices=("facts", "report"), help="of the facts that doctor --save writes, or of the report that --json prints"
    )


def run(arguments: argparse.Namespace) -> int:
    cli_output.write(json.dumps(facts_schema() if arguments.what == "facts" else report_schema(), indent=1))
    return 0
