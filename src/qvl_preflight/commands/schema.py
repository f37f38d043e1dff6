"""``qvl-preflight schema``: the JSON schema of facts, of a report, or of what ``fit`` answers."""

from __future__ import annotations

import argparse
import json

from qvl_preflight import cli_output
from qvl_preflight.schemas import facts_schema, fit_schema, report_schema

_SCHEMAS = {"facts": facts_schema, "report": report_schema, "fit": fit_schema}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=tuple(_SCHEMAS),
        help="of the facts that doctor --save writes, or of what --json prints: the report, or the answer of fit",
    )


def run(arguments: argparse.Namespace) -> int:
    cli_output.write(json.dumps(_SCHEMAS[arguments.what](), indent=1))
    return 0
