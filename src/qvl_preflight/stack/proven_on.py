"""Whether a set of releases can run on this machine, by what is read of torch's wheels and of the packages' own requirements; and what could in its place.

Recorded were an NVIDIA H100 and CPUs under Linux alone. All else that is said here is read: for which GPUs the wheels of torch are built (torch_wheels.py), which driver
a CUDA asks for (cuda.py), which torch a package asks for (its METADATA, transformers' import_utils.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from qvl_preflight.facts import Packages
from qvl_preflight.stack import requirements
from qvl_preflight.stack.bnb_library import BRINGS
from qvl_preflight.stack.cuda import OLDEST_DRIVER
from qvl_preflight.stack.proven import ProvenStack, fitting
from qvl_preflight.stack.torch_wheels import wheels_for
from qvl_preflight.unknown import Unknown, attempt
from qvl_preflight.versions import parse

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts

# Releases of torch whose wheels were read, newest first.
TORCHES = ("2.14.1", "2.11.0", "2.10.0", "2.9.1", "2.8.0", "2.7.1", "2.6.0", "2.5.1", "2.2.2", "2.1.2", "2.0.1")
# The torch that a package asks for in its METADATA; it is taken as it is, though one was seen below it.
ASKS_TORCH = {
    "gptqmodel==7.7.0": "2.14.1", "bitsandbytes==0.50.2": "2.4", "accelerate==1.15.0": "2.0", "peft==0.21.2": "1.13", "peft==0.21.0": "1.13",
    "optimum==2.3.0": "1.11", "auto-gptq==0.7.1": "1.13", "accelerate==0.26.1": "1.10", "peft==0.8.2": "1.13", "optimum==1.16.2": "1.11",
}  # fmt: skip
_SYSTEMS = {"macos": "macOS", "win": "Windows"}


def other_system(facts: Facts) -> str | None:
    """``ROCm``, ``macOS``, ``Windows``: what no stack was seen on; None for Linux with CUDA or without a GPU, and where it is not known."""
    torch, python = facts.torch, facts.python
    if not isinstance(torch, Unknown) and isinstance(torch.hip_build, str) and torch.hip_build:
        return "ROCm"
    platform = Unknown("") if isinstance(python, Unknown) else python.platform
    return (
        None
        if isinstance(platform, Unknown)
        else next((name for start, name in _SYSTEMS.items() if platform.startswith(start)), None)
    )


def doubts(stack: ProvenStack, facts: Facts) -> tuple[str, ...]:
    """Why a stack is not proven for this machine, or cannot run on it; nothing where that is not known."""
    system = other_system(facts)
    if system is not None:
        return (f"it was seen under Linux on {stack.device}, and this is {system}",)
    return tuple(_of_gpus(stack, facts))


def _of_gpus(stack: ProvenStack, facts: Facts) -> Iterator[str]:
    if isinstance(facts.gpus, Unknown) or not facts.gpus or stack.device == "a CPU":
        return
    torch = stack.packages["torch"]
    every = wheels_for(facts, torch)
    for gpu in facts.gpus:
        if not isinstance(gpu.capability, Unknown) and every is not None and not any(gpu.capability in fits for _, fits in every):
            yield f"the wheels of torch {torch} that were read have no kernels for {gpu.name} (compute capability {'.'.join(map(str, gpu.capability))})"
            return
    if every is not None and (driver := _driver(facts)) and not any(_runs(cuda, facts) for cuda, _ in every):
        lowest = min(cuda for cuda, _ in every)
        yield f"torch {torch}, as it was read, comes with CUDA {lowest[0]}.{lowest[1]}, and the driver {driver} is older than that asks for"


def _driver(facts: Facts) -> str | None:
    driver = facts.driver
    return driver.version if driver is not None and not isinstance(driver, Unknown) and isinstance(driver.version, str) else None


def _runs(cuda: tuple[int, int], facts: Facts) -> bool:
    """Does the driver run a CUDA of this major release? One that is not known counts as new enough."""
    found = parse(_driver(facts) or "")
    return found is None or cuda[0] not in OLDEST_DRIVER or found >= OLDEST_DRIVER[cuda[0]]


def proposal(facts: Facts, purpose: str, method: str, python: tuple[int, ...] | None) -> tuple[ProvenStack, str] | None:
    """The newest set whose known gates hold here, with the index of its torch: a proven one with another torch. None where there is none."""
    if other_system(facts) is not None or isinstance(facts.gpus, Unknown) or not facts.gpus:
        return None
    stacks = [stack for stack in fitting(purpose, method, python) if stack.device != "a CPU"]
    for stack in sorted(stacks, key=lambda each: parse(each.packages["transformers"]) or (), reverse=True):
        for torch in TORCHES:
            channel = _channel(facts, torch)
            other = replace(stack, packages={**stack.packages, "torch": torch})
            if channel is not None and _gates_hold(other, facts, channel):
                return other, channel
    return None


def _channel(facts: Facts, torch: str) -> str | None:
    """The newest index with a wheel of this torch that runs on every GPU under the driver."""
    capabilities = [] if isinstance(facts.gpus, Unknown) else [gpu.capability for gpu in facts.gpus]
    fits = [
        cuda for cuda, runs in wheels_for(facts, torch) or () if _runs(cuda, facts) and all(each in runs for each in capabilities)
    ]
    return f"cu{max(fits)[0]}{max(fits)[1]}" if fits else None


def _gates_hold(stack: ProvenStack, facts: Facts, channel: str) -> bool:
    torch = parse(stack.packages["torch"]) or ()
    if any(torch < (parse(ASKS_TORCH.get(f"{name}=={version}", "0")) or ()) for name, version in stack.packages.items()):
        return False
    packages = Packages(replace(facts, packages=dict(stack.packages)))
    if "bitsandbytes" in stack.packages and channel[2:] not in BRINGS.value(packages):
        return False  # its wheel holds no library for that CUDA
    skews = attempt(lambda: list(requirements.torch(packages)))
    return not isinstance(skews, Unknown) and not skews
