"""The call that ``check`` and ``plan`` are asked about, out of their arguments."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation


def situation(arguments: argparse.Namespace) -> Situation:
    from dataclasses import replace

    from qvl_preflight import api
    from qvl_preflight.cli_values import read_json, read_pairs
    from qvl_preflight.jobs import elsewhere

    kwargs = (read_json(arguments.kwargs, dict) if arguments.kwargs else {}) | read_pairs(arguments.pairs)
    case = api.situation(
        arguments.model, arguments.purpose, arguments.loader, file_or_object(arguments.peft), file_or_object(arguments.trainer), arguments.facts, kwargs,
        arguments.timeout if arguments.online else False,
    )  # fmt: skip
    return replace(case, facts=elsewhere(case.facts, case.request.trainer))


def file_or_object(given: str | None) -> Any:
    """``--trainer`` and ``--peft``: a file, or an object in JSON in place of its name. Raises InputError."""
    from qvl_preflight.cli_values import read_json

    return read_json(given, dict) if given and given.lstrip().startswith("{") else given
