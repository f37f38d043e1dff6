"""``qvl-preflight run``: a command as it is, with every from_pretrained looked at before it runs."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil

from qvl_preflight import cli_output
from qvl_preflight.exceptions import InputError
from qvl_preflight.guarding.active import Settings
from qvl_preflight.guarding.launch import environment, hand_over, is_one_python, leaves_us_out, stand_by
from qvl_preflight.request import PURPOSES
from qvl_preflight.settings import is_off, off_note


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=("check", "fix", "warn"),
        default="check",
        help="check: stop before weights load where the call will fail, exit code 3 (default); fix: correct the call and go on; warn: report and go on",
    )
    parser.add_argument(
        "--purpose", choices=PURPOSES, help="what the model is loaded for (default: as what the script makes says, else inference)"
    )
    parser.add_argument("--dry-run", action="store_true", help="run to the first from_pretrained, report, and stop there")
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="-- COMMAND",
        help="python, torchrun, accelerate launch, bash …, as you would type it",
    )


def run(arguments: argparse.Namespace) -> int:
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise InputError("run: a command is required, such as: qvl-preflight run -- python train.py")
    path = shutil.which(command[0])
    if path is None:
        hint = f"; write: python {command[0]}" if command[0].endswith(".py") else ""
        raise InputError(f"run: {command[0]} is no command that can be started{hint}")
    if is_off():
        cli_output.complain(off_note())
        hand_over(path, command, os.environ)
    if flag := leaves_us_out(command):
        cli_output.complain(f"{command[0]} {flag} reads no sitecustomize: nothing is checked")
    settings = Settings(arguments.mode, arguments.purpose, secrets.token_hex(8), arguments.dry_run)
    env = environment(settings, os.environ)
    if not settings.dry_run and (settings.mode != "check" or is_one_python(command)):
        hand_over(path, command, env)
    return stand_by(path, command, env, settings)
