"""A proven stack as a requirements file that says what would change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qvl_preflight.stack.proven import ProvenStack, installed

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts


def requirements(stack: ProvenStack, facts: Facts, purpose: str, method: str) -> str:
    """Lines for ``pip install -r``."""
    what = "a plain checkpoint" if method == "none" else method
    first, last = (".".join(map(str, release)) for release in stack.python)
    lines = [f"# {purpose} with {what}: seen to work on {stack.device}, {stack.seen}; Python {first} to {last}"]
    lines += [f"# {stack.note}"] if stack.note else []
    for name, version in stack.packages.items():
        here = installed(facts, name)
        comment = "" if here is None else "  # installed" if here.partition("+")[0] == version else f"  # installed: {here}"
        lines.append(f"{name}=={version}{comment}")
    return "\n".join(lines)


def to_dict(stack: ProvenStack, facts: Facts) -> dict[str, Any]:
    """The same for ``--json``."""
    return {
        "packages": dict(stack.packages),
        "python": [".".join(map(str, release)) for release in stack.python],
        "device": stack.device,
        "seen": stack.seen,
        "note": stack.note or None,
        "changes": {
            name: installed(facts, name)
            for name, version in stack.packages.items()
            if (installed(facts, name) or "").partition("+")[0] != version
        },
    }
