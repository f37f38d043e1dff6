"""``qvl-preflight rules``: the list of the rules."""

from __future__ import annotations

import argparse
import json

from qvl_preflight import cli_output
from qvl_preflight.rule import all_rules


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print as JSON: code, name, topic, severity, summary, fixable")


def run(arguments: argparse.Namespace) -> int:
    if arguments.json:
        cli_output.write(json.dumps([rule.to_dict() for rule in all_rules()], indent=1))
    else:
        cli_output.write("\n".join(f"{r.code}  {r.severity.value:<8} {r.name:<32} {r.summary}" for r in all_rules()))
    return 0
