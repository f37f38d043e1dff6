"""In a notebook: ``%load_ext qvl_preflight``; then ``%preflight``, ``%%preflight --purpose qlora`` above a cell, and after a crash ``%preflight why``."""

from __future__ import annotations

import sys
from typing import Any

USAGE = """%preflight: this machine
%preflight NAME [--purpose P] [--gradients]: a model that is loaded, or the name of one, by the variable that holds it
%preflight why: the cause of the last exception
%preflight explain CODE: the page of a rule
%%preflight [--purpose P] [--warn]: check the calls of from_pretrained in the cell, then run it; --warn runs it whatever is found"""


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext qvl_preflight`` calls: registers ``%preflight`` and ``%%preflight``."""

    def preflight(line: str, cell: str | None = None) -> Any:
        from qvl_preflight import cells

        return cells.line(line, shell) if cell is None else cells.cell(line, cell, shell)

    preflight.__doc__ = USAGE
    shell.register_magic_function(preflight, "line_cell", "preflight")


def unload_ipython_extension(shell: Any) -> None:
    """What ``%unload_ext qvl_preflight`` calls."""
    for kind in ("line", "cell"):
        shell.magics_manager.magics.get(kind, {}).pop("preflight", None)


def why() -> str:
    """The causes of the exception that the notebook showed last, on this machine."""
    from qvl_preflight.commands.diagnose import text
    from qvl_preflight.diagnosis import diagnose

    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if not isinstance(error, BaseException):
        return "There was no exception in this session."
    return text(diagnose(error))
