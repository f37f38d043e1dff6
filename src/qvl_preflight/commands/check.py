"""``qvl-preflight check``: what one call of from_pretrained meets, and the corrected call."""

from __future__ import annotations

import argparse
import json

from qvl_preflight import cli_output, engine
from qvl_preflight.commands.calls import situation
from qvl_preflight.commands.options import call_options, listed, report_options
from qvl_preflight.commands.showing import exit_code, show
from qvl_preflight.rule import select_rules


def arguments(parser: argparse.ArgumentParser) -> None:
    call_options(parser)
    parser.add_argument(
        "--fix",
        action="store_true",
        help="print the corrected call, where one works; the exit code is that of the call that is printed",
    )
    parser.add_argument("--unsafe-fixes", action="store_true", help="with --fix: apply edits that may change the result")
    report_options(parser)


def run(arguments: argparse.Namespace) -> int:
    case = situation(arguments)
    rules = select_rules(listed(arguments.select), listed(arguments.ignore))
    if not arguments.fix:
        return show(engine.check(case, rules), arguments)
    fixed = engine.fix(case, rules, unsafe=arguments.unsafe_fixes)
    if arguments.json:
        from qvl_preflight.report import fixed_to_dict

        cli_output.write(json.dumps(fixed_to_dict(fixed), indent=1))
    else:
        from qvl_preflight.render.terminal import print_fixed

        cli_output.write_by(lambda stream: print_fixed(fixed, stream, color=False if arguments.no_color else None))
    return exit_code(fixed.handed_back, arguments.fail_on)
