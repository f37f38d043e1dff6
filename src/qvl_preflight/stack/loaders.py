"""What the installed packages and the class make of the weights that a call loads, beside dtype and quantisation: for the plan and for every estimate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qvl_preflight.memory.loader import NEWEST, Loader
from qvl_preflight.plan import Kernel
from qvl_preflight.stack.module_tree import buffer_names, buffers_of, rows_of
from qvl_preflight.unknown import Unknown, attempt

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, LoadPlan, Situation


def loader_of(case: Situation, plan: LoadPlan | Draft) -> Loader:
    """What the installed packages, and the class, make of the weights; the newest releases where they are not known."""
    release = attempt(lambda: case.packages.release("transformers"))
    known = release if isinstance(release, tuple) else NEWEST.transformers
    found = Loader(
        known,
        always_biased=_always_biased(case),
        table_bytes=_tables(plan.kernel, plan),
        dequantises=_dequantises(case, plan, known),
    )
    classes, weights = case.checkpoint.config.get("architectures"), case.checkpoint.weights
    if not isinstance(classes, list) or not classes or case.checkpoint.remote_code or isinstance(weights, Unknown):
        return found
    name = str(classes[0])
    trees = [tree for since, tree in rows_of(name) if since <= known]
    found = replace(found, tied=bool(trees and trees[-1].get("tied")), strays=buffer_names(name))
    made = buffers_of(case.checkpoint, weights.tensors, name, known)
    if made is None:
        return found
    notes = () if made[1] else ("tables that are not stored are about: the class makes them in sizes of its own",)
    return replace(found, buffers=made[0], notes=notes)


def _always_biased(case: Situation) -> bool:
    """optimum 1.13 to 1.19 gptq/quantizer.py _replace_by_quant_layers makes every layer with a bias; 1.20 asks the class."""
    return case.checkpoint.quant_method == "gptq" and attempt(lambda: case.packages.at_least("optimum", 1, 20)) is False


def _tables(kernel: Kernel | Unknown | None, plan: LoadPlan | Draft) -> int:
    """gptqmodel 4.2 to 7.7 nn_modules/qlinear: the kernels in torch keep the shifts of a word for each layer, int32."""
    quantization = plan.quantization
    if not isinstance(kernel, Kernel) or isinstance(quantization, Unknown) or quantization is None or quantization.method != "gptq":
        return 0
    return 32 // quantization.bits * 4 if kernel.backend == "gptqmodel" and kernel.name.startswith("torch") else 0


def _dequantises(case: Situation, plan: LoadPlan | Draft, release: tuple[int, ...]) -> bool:
    """transformers 5 quantizers/quantizer_finegrained_fp8.py: on the CPU, and on GPUs before 8.9, fp8 weights are turned back."""
    capability = capability_of(case)
    return release >= (5,) and (plan.devices == ("cpu",) or (capability is not None and capability < (8, 9)))


def capability_of(case: Situation) -> tuple[int, int] | None:
    """Of the first GPU that this process sees."""
    devices = case.devices
    if isinstance(devices, Unknown) or not devices.visible or isinstance(devices.visible[0].capability, Unknown):
        return None
    return devices.visible[0].capability
