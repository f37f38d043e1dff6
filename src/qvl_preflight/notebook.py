"""In a notebook: ``%load_ext qvl_preflight``, and after a crash ``%preflight why``."""

from __future__ import annotations

import sys
from typing import Any

_USAGE = "%preflight why: the cause of the last exception. %preflight doctor: this machine."


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext qvl_preflight`` calls: registers ``%preflight``."""
    shell.register_magic_function(preflight, "line", "preflight")


def unload_ipython_extension(shell: Any) -> None:
    """What ``%unload_ext qvl_preflight`` calls."""
    shell.magics_manager.magics.get("line", {}).pop("preflight", None)


def preflight(line: str = "") -> None:
    """``why`` prints the causes of the last exception; ``doctor`` looks at the machine."""
    from qvl_preflight import cli_output

    word = line.strip().lower()
    if word == "doctor":
        from qvl_preflight.cli import main

        main(["doctor"])
    elif word == "why":
        cli_output.write(why())
    else:
        cli_output.write(_USAGE)


def why() -> str:
    """The causes of the exception that the notebook showed last, on this machine."""
    from qvl_preflight.commands.diagnose import text
    from qvl_preflight.diagnosis import diagnose

    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if not isinstance(error, BaseException):
        return "There was no exception in this session."
    return text(diagnose(error))
