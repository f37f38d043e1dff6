"""gptqmodel: for which device it looks for a kernel, given the device_map, and in which words it refuses one.

Source: gptqmodel 7.7.0 utils/importer.py hf_select_quant_linear; 5.8.0, 4.2.5 and 2.2.0 likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.request import device_name
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.stack.cuda import available
from qvl_preflight.unknown import Unknown, need
from qvl_preflight.versions import Evidence

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation
    from qvl_preflight.stack.gptqmodel import Unsupported

NONE_FITS = "No valid quant linear"
NOT_FETCHED = "<urlopen error <urlopen error"  # Machete for AWQ, recorded on 7.7.0


def refused(situation: Situation) -> WillRaise | None:
    """A device_map that gptqmodel does not read: before 5 it takes every value for a device of its own."""
    given = situation.request.device_map
    if not situation.packages.at_least("gptqmodel", 5):
        for value in given.values() if isinstance(given, Mapping) else [given]:
            if (value := device_name(value)) in ("balanced", "balanced_low_0", "sequential", "disk", "meta"):
                text, why = f"'{value}' is not a valid DEVICE", "this gptqmodel takes no such device_map"
                return WillRaise("QVL401", Stage.KERNEL, "ValueError", text, "device-map", why, evidence=Evidence.RUN)
    if device_name(given) == "meta" and situation.packages.at_least("gptqmodel", 7):
        text, why = "Unsupported selector device family `meta`", 'device_map="meta" loads no weights at all'
        return WillRaise("QVL406", Stage.KERNEL, "ValueError", text, "meta", why, evidence=Evidence.RUN)
    return None


def kernel_refused(refusal: Unsupported, name: str, device: str, evidence: Evidence) -> WillRaise:
    """The kernel that was asked for cannot be had: for want of a GPU, or at all."""
    text = str(refusal)
    if device == "cpu" and text == NONE_FITS:
        why = "gptqmodel has no kernel that computes these layers on the CPU, where they would be"
        return WillRaise("QVL306", Stage.KERNEL, refusal.type, text, "cpu", why, evidence=evidence)
    if text == NOT_FETCHED:
        why = f'the kernel "{name}" fetches the CUTLASS sources when it is chosen, and there is no network'
        return WillRaise("QVL307", Stage.KERNEL, refusal.type, text, "kernel-build", why, evidence=evidence)
    on_cpu = device == "cpu" and name not in ("auto", "auto_trainable") and "is not a valid BACKEND" not in text
    on_cpu = on_cpu and not text.startswith("Unsupported backend")
    why = f'the kernel "{name}" cannot be used: {text}'
    if on_cpu:
        why = f'the kernel "{name}" runs on a GPU only, and the weights would be on the CPU'
    code, cause = ("QVL306", "cpu") if on_cpu else ("QVL305", "kernel")
    return WillRaise(code, Stage.KERNEL, refusal.type, text, cause, why, evidence=evidence)


def selector_device(situation: Situation) -> str:
    """``cuda`` or ``cpu``: the device for which gptqmodel looks for a kernel, out of the device_map as passed. Raises Undecided."""
    given = situation.request.device_map
    if given is None:
        return "cpu"  # GptqHfQuantizer.update_device_map
    if given in STRATEGIES:
        return _accelerator_of_build(situation)
    named = situation.request.named_devices
    return "cuda" if any(name is not None and name.startswith("cuda") for name in named) else "cpu"


def _accelerator_of_build(situation: Situation) -> str:
    """For "auto" the build of torch decides, not the hardware: current_accelerator() is asked without a check (recorded)."""
    if not situation.packages.at_least("gptqmodel", 5):
        return "cuda"
    torch = situation.facts.torch
    build = torch.cuda_build if not isinstance(torch, Unknown) else torch
    if isinstance(build, Unknown):
        return "cuda" if available(situation) else need(build) or "cpu"
    return "cpu" if build is False else "cuda"
