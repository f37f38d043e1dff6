"""``qvl-preflight explain``: the page of a rule."""

from __future__ import annotations

import argparse

from qvl_preflight import cli_output
from qvl_preflight.api import explain


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("code", metavar="RULE", help="its code or name: QVL306, kernel-refuses-the-cpu")


def run(arguments: argparse.Namespace) -> int:
    cli_output.write(explain(arguments.code))
    return 0
