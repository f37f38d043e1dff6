"""``qvl-preflight stack``: releases that were seen to work together."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

from qvl_preflight import cli_output
from qvl_preflight.cli_values import read_python
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Facts
from qvl_preflight.facts_from import facts_of
from qvl_preflight.render.requirements import requirements, to_dict
from qvl_preflight.stack.proven import METHODS, PURPOSES, ProvenStack, nearest
from qvl_preflight.stack.proven_on import doubts, other_system, proposal


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
    stack, why, channel = _for_this_machine(facts, arguments.purpose, arguments.method, read_python(arguments.python, facts))
    if arguments.json:
        cli_output.write(json.dumps(to_dict(stack, facts, why, channel), indent=1))
    else:
        cli_output.write(requirements(stack, facts, arguments.purpose, arguments.method, why, channel))
    return 0


def _for_this_machine(
    facts: Facts, purpose: str, method: str, python: tuple[int, ...] | None
) -> tuple[ProvenStack, tuple[str, ...], str | None]:
    """A proven stack; or what can run here as far as is read, why no proven one does, and the index of its torch. Raises InputError."""
    stack = nearest(facts, purpose, method, python, doubts)
    why = doubts(stack, facts)
    if not why:
        return stack, (), None
    if (other := proposal(facts, purpose, method, python)) is not None:
        return other[0], why, other[1]
    system = other_system(facts)
    if system is not None and method == "none":  # nothing else in it is built for one maker's GPU
        plain = {
            name: version
            for name, version in stack.packages.items()
            if name not in ("torch", "gptqmodel", "bitsandbytes", "optimum")
        }
        note = f"torch is not in it: keep the one that is built for {system}, from 2.6 on" if system == "ROCm" else ""
        torch = {} if system == "ROCm" else {"torch": stack.packages["torch"]}
        return replace(stack, packages={**torch, **plain}, note=note), why, None
    raise InputError(f"no stack is proven to do {purpose} with {method} here, and none that is known can: {'; '.join(why)}")
