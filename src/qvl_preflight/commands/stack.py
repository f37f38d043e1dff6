"""``qvl-preflight stack``: releases that were seen to work together."""

from __future__ import annotations

import argparse
import json

from qvl_preflight import cli_output
from qvl_preflight.cli_values import read_python
from qvl_preflight.facts_from import facts_of
from qvl_preflight.render.requirements import requirements, to_dict
from qvl_preflight.stack.proven import METHODS, PURPOSES, nearest


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--purpose", choices=PURPOSES, default="inference", help="what the releases must do (default: inference)")
    method = "how the checkpoint is quantised (default: none)"
    parser.add_argument("--method", choices=METHODS, default="none", help=method)
    parser.add_argument(
        "--python", metavar="3.11", help="the Python that they must install on (default: this one, or that of --facts)"
    )
    parser.add_argument("--facts", metavar="FILE", help="facts saved with doctor --save, in place of this machine")
    parser.add_argument(
        "--json", action="store_true", help="print as JSON: packages, Python, where they were seen, what would change"
    )


def run(arguments: argparse.Namespace) -> int:
    facts = facts_of(arguments.facts)
    for note in facts.unread:
        cli_output.complain(note)
    stack = nearest(facts, arguments.purpose, arguments.method, read_python(arguments.python, facts))
    if arguments.json:
        cli_output.write(json.dumps(to_dict(stack, facts), indent=1))
    else:
        cli_output.write(requirements(stack, facts, arguments.purpose, arguments.method))
    return 0
