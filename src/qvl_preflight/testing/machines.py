"""The facts of a named machine."""

from __future__ import annotations

import copy
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Facts
from qvl_preflight.testing.hardware import BASE, HARDWARE
from qvl_preflight.testing.stacks import STACKS


def machine(hardware: str = "a100", stack: str = "today", **sections: Any) -> Facts:
    """The facts of a named machine with a named stack; ``sections`` replace whole sections of the JSON. Raises InputError."""
    if hardware not in HARDWARE or stack not in STACKS:
        raise InputError(
            f"no machine {hardware!r} with the stack {stack!r}; there are {', '.join(HARDWARE)} and {', '.join(STACKS)}"
        )
    installed = STACKS[stack]
    raw = {
        **copy.deepcopy(BASE),
        "python": {"version": installed["python"], "implementation": "CPython", "platform": "linux-x86_64"},
        "packages": installed["packages"],
        "torch": {"cuda_build": installed["cuda"], "hip_build": False} if installed["cuda"] else None,
        "driver": installed["driver"],
        "extensions": installed["extensions"],
        **copy.deepcopy(HARDWARE[hardware]),
        **sections,
    }
    return Facts.from_dict(raw)
