"""``qvl-preflight plan``: where everything will land, and how far each stage comes."""

from __future__ import annotations

import argparse
import json

from qvl_preflight import cli_output
from qvl_preflight.commands.calls import situation
from qvl_preflight.commands.options import call_options
from qvl_preflight.planner import make_plan


def arguments(parser: argparse.ArgumentParser) -> None:
    call_options(parser)
    parser.add_argument("--facts", metavar="FILE", help="facts saved with doctor --save, in place of this machine")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Exit 1 where the call certainly stops."""
    case = situation(arguments)
    for note in case.notes:
        cli_output.complain(note)
    plan = make_plan(case)
    if arguments.json:
        from qvl_preflight.outline import to_dict

        cli_output.write(json.dumps(to_dict(case, plan), indent=1))
    else:
        from qvl_preflight.render.outline import outline_text

        cli_output.write(outline_text(case, plan))
    return int(plan.stops_at is not None)
