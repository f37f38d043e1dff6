"""Stacks that were seen to load and to train, with their exact releases. Every claim is held against tests/recordings by a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Packages
from qvl_preflight.stack import requirements
from qvl_preflight.unknown import Unknown, attempt
from qvl_preflight.versions import parse

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts
    from qvl_preflight.stack.requirements import Skew

METHODS = ("none", "gptq", "bnb4", "bnb8")
PURPOSES = ("inference", "lora", "qlora")


@dataclass(frozen=True)
class ProvenStack:
    """Releases that were installed together. ``works``: (method, purpose) that did what was asked there."""

    recording: str  # under tests/recordings
    device: str
    seen: str  # year and month
    python: tuple[
        tuple[int, int], tuple[int, int]
    ]  # first and last that these releases install on (their Requires-Python, their wheels)
    packages: Mapping[str, str]
    works: frozenset[tuple[str, str]]
    note: str = ""


_FROM_SOURCE = "auto-gptq was built from source (pip install --no-build-isolation): its wheels hold kernels for torch 2.2 only"
_WITHOUT_DEPS = "gptqmodel 7.7.0 asks for torch from 2.14.1 on and was seen with 2.11.0: install it last, by pip install --no-deps"
_GPTQ = frozenset({("none", "inference"), ("none", "lora"), ("gptq", "inference"), ("gptq", "qlora")})

PROVEN = (
    ProvenStack(
        "h100-gptq5", "NVIDIA H100", "2026-11", ((3, 11), (3, 13)),
        {"torch": "2.11.0", "transformers": "5.23.0", "accelerate": "1.15.0", "peft": "0.21.2", "optimum": "2.3.0", "gptqmodel": "7.7.0"}, _GPTQ, _WITHOUT_DEPS,
    ),
    ProvenStack(
        "h100-bnb5", "NVIDIA H100", "2026-11", ((3, 10), (3, 13)),
        {"torch": "2.11.0", "transformers": "5.17.0", "accelerate": "1.15.0", "peft": "0.21.0", "bitsandbytes": "0.50.2"},
        frozenset({("none", "inference"), ("none", "lora"), ("bnb4", "inference"), ("bnb4", "qlora"), ("bnb8", "inference"), ("bnb8", "qlora")}),
    ),
    ProvenStack(
        "h100-legacy37", "NVIDIA H100", "2026-11", ((3, 10), (3, 12)),
        {"torch": "2.11.0", "transformers": "4.37.2", "accelerate": "0.26.1", "peft": "0.8.2", "optimum": "1.16.2", "auto-gptq": "0.7.1"}, _GPTQ, _FROM_SOURCE,
    ),
    ProvenStack(
        "h100-seed", "NVIDIA H100", "2026-11", ((3, 10), (3, 12)),
        {"torch": "2.11.0", "transformers": "4.32.0", "accelerate": "0.23.0", "peft": "0.8.2", "optimum": "1.13.2", "auto-gptq": "0.7.1"}, _GPTQ, _FROM_SOURCE,
    ),
    ProvenStack(
        "cpu-modern", "a CPU", "2026-11", ((3, 11), (3, 13)),
        {"torch": "2.14.1", "transformers": "5.23.0", "accelerate": "1.15.0", "peft": "0.21.2", "optimum": "2.3.0", "gptqmodel": "7.7.0", "bitsandbytes": "0.50.2"}, _GPTQ,
    ),
)  # fmt: skip


def fitting(purpose: str, method: str, python: tuple[int, ...] | None) -> list[ProvenStack]:
    """The stacks that did it and install on this Python, None for any. Raises InputError where there is none."""
    for_it = [stack for stack in PROVEN if (method, purpose) in stack.works]
    if not for_it:
        known = sorted({pair for stack in PROVEN for pair in stack.works})
        raise InputError(
            f"no stack was seen to do {purpose} with {method}; there are {', '.join(f'{how} with {what}' for what, how in known)}"
        )
    fits = [stack for stack in for_it if python is None or stack.python[0] <= python[:2] <= stack.python[1]]
    if not fits:
        shown = ", ".join(sorted({f"{_dotted(stack.python[0])} to {_dotted(stack.python[1])}" for stack in for_it}))
        assert python is not None
        raise InputError(f"no stack was seen to do {purpose} with {method} on Python {_dotted(python)}; there are some for {shown}")
    return fits


def nearest(
    facts: Facts,
    purpose: str,
    method: str,
    python: tuple[int, ...] | None,
    doubts: Callable[[ProvenStack, Facts], tuple[str, ...]] = lambda stack, facts: (),
) -> ProvenStack:
    """The stack that changes least of what is installed, of those without ``doubts`` where there are any. Raises InputError where none is known."""
    fits = fitting(purpose, method, python)
    gpu = not (facts.driver is None and facts.gpus == ())
    return min(fits, key=lambda stack: (gpu == (stack.device == "a CPU"), bool(doubts(stack, facts)), *_distance(stack, facts)))


def installed(facts: Facts, name: str) -> str | None:
    """The release that is there, as far as is known."""
    found = None if isinstance(facts.packages, Unknown) else facts.packages.get(name)
    return found if isinstance(found, str) else None


def changes(stack: ProvenStack, facts: Facts) -> dict[str, str | None]:
    """Each package that would be installed or moved, with the release that is there; None: none, as far as is known."""
    here = {name: installed(facts, name) for name in stack.packages}
    return {name: found for name, found in here.items() if (found or "").partition("+")[0] != stack.packages[name]}


def clash(stack: ProvenStack, facts: Facts, name: str) -> str | None:
    """Why the installed release of ``name`` does not go with the rest of the stack, where that is known."""
    beside = Packages(replace(facts, packages={**stack.packages, name: installed(facts, name) or False}))
    checks = (requirements.transformers, requirements.torch, requirements.peft, requirements.gptqmodel_beside_peft)
    return next((skew.why for check in checks for skew in _found(check, beside)), None)


def _found(check: Callable[[Packages], Iterator[Skew]], packages: Packages) -> list[Skew]:
    found = attempt(lambda: list(check(packages)))
    return [] if isinstance(found, Unknown) else found


def _distance(stack: ProvenStack, facts: Facts) -> tuple[int, int]:
    """How many packages would change their major and minor release, and how far transformers would move."""
    moved = sum(_minor(installed(facts, name)) != _minor(version) for name, version in stack.packages.items())
    here, there = _minor(installed(facts, "transformers")), _minor(stack.packages["transformers"])
    return moved, abs(100 * (here[0] - there[0]) + here[1] - there[1]) if here else 0


def _minor(version: str | None) -> tuple[int, ...]:
    release = parse(version) if version else None
    return (*release, 0)[:2] if release else ()


def _dotted(release: tuple[int, ...]) -> str:
    return ".".join(map(str, release))
