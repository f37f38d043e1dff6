"""A proven stack as a requirements file that says what would change, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qvl_preflight.facts import Packages
from qvl_preflight.stack.proven import ProvenStack, changes, clash
from qvl_preflight.stack.torch_wheels import INDEX
from qvl_preflight.unknown import attempt

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts


def requirements(
    stack: ProvenStack, facts: Facts, purpose: str, method: str, doubts: tuple[str, ...] = (), channel: str | None = None
) -> str:
    """Lines for ``pip install -r``. ``doubts``: why no proven set is offered; ``channel``: the index of torch that goes with what is offered instead."""
    what = "a plain checkpoint" if method == "none" else method
    first, last = (".".join(map(str, release)) for release in stack.python)
    lines = [f"# {purpose} with {what}: seen to work on {stack.device}, {stack.seen}; Python {first} to {last}"]
    if doubts:
        lines = [
            f"# {purpose} with {what}: NOT proven for this machine; Python {first} to {last}",
            *(f"# {doubt}." for doubt in doubts),
        ]
        lines.append(
            "# What follows was put together from what is read of these releases. Recorded were an NVIDIA H100 and CPUs under Linux alone."
        )
    if channel:
        lines.append(f"--extra-index-url {INDEX}{channel}")
    lines += [f"# {stack.note}"] if stack.note else []
    moved = changes(stack, facts)
    if not doubts and any(here is not None for here in moved.values()):
        lines.append("# The nearest to what is installed of the stacks that were seen to do this; others may do it as well.")
    known, only = Packages(facts), "goes with the rest, as far as is read" if doubts else "only {} was seen with the rest"
    for name, version in stack.packages.items():
        here = moved.get(name)
        if name not in moved:
            comment = "  # installed"
        elif here is None:
            comment = "  # not installed" if attempt(lambda name=name: known.has(name)) is False else ""  # type: ignore[misc]
        else:
            comment = f"  # installed: {here}; {clash(stack, facts, name) or only.format(version)}"
        lines.append(f"{name}=={version}{comment}")
    return "\n".join(lines)


def to_dict(stack: ProvenStack, facts: Facts, doubts: tuple[str, ...] = (), channel: str | None = None) -> dict[str, Any]:
    """The same for ``--json``."""
    moved = changes(stack, facts)
    return {
        "packages": dict(stack.packages),
        "proven_here": not doubts,
        "doubts": list(doubts),
        "torch_index": f"{INDEX}{channel}" if channel else None,
        "python": [".".join(map(str, release)) for release in stack.python],
        "device": stack.device,
        "seen": stack.seen,
        "note": stack.note or None,
        "changes": moved,
        "clashes": {name: why for name, here in moved.items() if here is not None and (why := clash(stack, facts, name))},
    }


__all__ = ["requirements", "to_dict"]
