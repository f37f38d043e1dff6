"""``qvl-preflight doctor``: this machine, and a model's plain call on it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from qvl_preflight import cli_output
from qvl_preflight.commands.options import listed, online_options, report_options
from qvl_preflight.commands.showing import show
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts_from import facts_of


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="MODEL", help="a folder or hub id: also say what loading it without further arguments does here"
    )
    online_options(parser)
    parser.add_argument("--save", metavar="FILE", help="write the facts of this machine to FILE, for --facts")
    report_options(parser)


def run(arguments: argparse.Namespace) -> int:
    facts = facts_of(arguments.facts)
    if arguments.save:
        _save(arguments.save, facts.to_dict())
    select, ignore = listed(arguments.select), listed(arguments.ignore)
    if arguments.model:
        from qvl_preflight.api import check

        online = arguments.timeout if arguments.online else False
        report = check(arguments.model, facts=facts if arguments.facts else None, online=online, select=select, ignore=ignore)
        return show(report, arguments)
    from qvl_preflight.environment import examine

    return show(examine(facts, select, ignore), arguments)


def _save(path: str, data: Any) -> None:
    try:
        cli_output.save(path, f"{json.dumps(data, indent=1)}\n")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); name a file in a folder that is there and yours"
        ) from error
