"""Where the weights land: the device_map as quantizer, transformers and accelerate leave it, and the devices that can not be had.

Sources: transformers 4.32 to 5.23 (quantizers' update_device_map, _get_device_map, expand_device_map), accelerate utils/modeling.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.request import device_name
from qvl_preflight.stack import accelerate, cuda, strategy_map
from qvl_preflight.stack.map_holes import covering as covering
from qvl_preflight.stack.map_holes import dispatches, left_out, met_before, reached
from qvl_preflight.stack.map_holes import home_of as home_of
from qvl_preflight.stack.module_names import matches_nothing
from qvl_preflight.stack.transformers import is_device, resolve_device
from qvl_preflight.unknown import Undecided, Unknown, attempt, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

CUDA_CODES = {
    "cpu-build": "QVL102", "no-gpu": "QVL101", "hidden": "QVL201", "repeated": "QVL202", "driver-too-old": "QVL103", "not-loaded": "QVL105", "no-nodes": "QVL106",
    "mismatch": "QVL107", "no-libcuda": "QVL108", "stub": "QVL109", "locked": "QVL110", "no-uvm": "QVL113", "no-slice": "QVL119", "bad-order": "QVL211",
    "other-gpu": "QVL115", "slurm-none": "QVL209",
}  # fmt: skip


def idle_gpu(situation: Situation, draft: Draft) -> str:
    """The GPU that this process could use, where a plain model for inference lands on the CPU because no device_map is given.

    Worth a word and no more: most programs move the model themselves. Quantised weights are QVL402's.
    """
    request, home = situation.request, situation.home
    if request.kwargs.get("device_map") is not None or request.purpose != "inference" or request.trainer is not None:
        return ""
    if (
        draft.quantization is not None
        or draft.devices != ("cpu",)
        or home is None
        or attempt(lambda: cuda.available(situation)) is not True
    ):
        return ""
    free = need(situation.devices).visible[home.ordinal].free_bytes
    size = attempt(lambda: need(situation.checkpoint.total_bytes))
    fits = not isinstance(free, int) or isinstance(size, Unknown) or free > size
    return f"cuda:{home.ordinal}, {home.name}," if fits else ""


def limits(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """DEVICE_MAP: the GPUs that max_memory names."""
    given = situation.request.kwargs.get("max_memory")
    if isinstance(given, Mapping) and situation.request.device_map in accelerate.STRATEGIES:
        yield from _ordinals(situation, [f"cuda:{key}" for key in given if isinstance(key, int) and key >= 0], Stage.DEVICE_MAP)


def map_values(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """DEVICE_MAP: a value that torch does not take for a device."""
    given = situation.request.device_map
    for value in given.values() if isinstance(given, Mapping) and not matches_nothing(situation) else ():
        if isinstance(value, str) and value != "disk" and not is_device(value):
            number = value.isdecimal() and value.isascii()
            text = (
                f"Invalid device string: '{value}'"
                if number
                else "Expected one of cpu, cuda, ipu, xpu, mkldnn, opengl, opencl, ideep, hip"
            )
            row = _MAP_VALUES.row(situation.packages)
            yield WillRaise(
                "QVL401",
                Stage.DEVICE_MAP,
                "RuntimeError",
                text,
                "device-map",
                f'the device_map holds "{value}", which is no device',
                evidence=row.evidence,
            )
            return


_MAP_VALUES = ByRelease(
    "transformers",
    Row("4.32", None, None, Evidence.RUN, "transformers 4.32.0, 4.37.2, 4.45.2, 4.57.1, 5.23.0"),
)


def place(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """DEVICE_MAP: sets ``draft.device_map``, ``draft.devices`` and ``draft.first_parameter``."""
    given = situation.request.device_map
    if isinstance(given, str) and given not in accelerate.STRATEGIES and not is_device(given):
        raise Undecided("the device_map is not valid")
    if draft.failed("max-memory") or draft.failed("device-map"):
        raise Undecided("the placement is not valid")
    draft.device_map = attempt(lambda: _device_map(situation, draft))
    if isinstance(draft.device_map, Unknown):
        draft.devices = draft.first_parameter = draft.device_map
    found = need(draft.device_map)
    draft.devices = accelerate.shown(found)
    draft.first_parameter = _home_of_first(situation, found)
    yield from _holes(situation, draft, found)


def _device_map(situation: Situation, draft: Draft) -> dict[str, str]:
    given = situation.request.device_map
    if matches_nothing(situation):
        return {"": "cpu"}
    if given is None:
        return {"": _default_device(situation, draft)}
    if isinstance(given, Mapping):
        return {str(name): resolve_device(situation, value) for name, value in given.items()}
    if given in accelerate.STRATEGIES:
        return strategy_map.worked_out(situation, draft, str(given))
    return {"": resolve_device(situation, given)}


def _default_device(situation: Situation, draft: Draft) -> str:
    """Without a device_map: the CPU; bitsandbytes alone takes the current GPU (quantizer_bnb_*.py update_device_map)."""
    quantization = need(draft.quantization)
    if quantization is not None and quantization.method == "bitsandbytes" and cuda.available(situation):
        return resolve_device(situation, "cuda")
    return "cpu"


def _home_of_first(situation: Situation, found: Mapping[str, str]) -> str | Unknown:
    """Where next(model.parameters()) is after dispatch: what optimum's guard looks at."""
    if len(set(found.values())) == 1:
        only = next(iter(found.values()))
        return "meta" if only == "disk" else only
    weights = situation.checkpoint.weights
    if isinstance(weights, Unknown):
        return Unknown(weights.reason)
    names = accelerate.units(weights.tensors, Unknown(""))
    home = covering(found, names[0].name) if names else None
    gpu = any(device.startswith("cuda") for device in found.values())
    return (
        Unknown("the device_map leaves it out") if home is None else "meta" if home == "disk" or (home == "cpu" and gpu) else home
    )


def _holes(situation: Situation, draft: Draft, found: Mapping[str, str]) -> Iterator[WillRaise]:
    """A map that leaves parameters out: refused up to 4.57; in 5.x they go to the CPU, and the map is looked at when all is loaded."""
    first, why = left_out(situation, found)
    if not first or (situation.packages.at_least("transformers", 5) and dispatches(found)):
        return
    if not situation.packages.at_least("transformers", 5):
        by_name = "disk" in found.values()  # the list of what lies on the disk is made by name (run on 4.32.0 to 4.57.1)
        if not by_name:
            yield from _ordinals(situation, met_before(situation, found, first), Stage.MATERIALISE)
        type_, text = ("KeyError", f"'{first}'") if by_name else ("ValueError", f"{first} doesn't have any device set.")
        yield WillRaise("QVL404", Stage.MATERIALISE, type_, text, "holes", why, evidence=Evidence.RUN)
        return
    homes = set(found.values())
    draft.devices = tuple(sorted(homes | {"cpu"}))
    if homes != {"cpu"}:
        text = "Expected all tensors to be on the same device"
        why = f"{why}: this release puts them on the CPU, the rest is on {', '.join(sorted(homes))}"
        yield WillRaise("QVL404", Stage.FORWARD, "RuntimeError", text, "holes", why, evidence=Evidence.RECORDED)


def materialise(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: the first tensor that goes to a device that is not there."""
    yield from _ordinals(situation, reached(situation, need(draft.device_map)), Stage.MATERIALISE)


def _ordinals(situation: Situation, names: list[str], stage: Stage) -> Iterator[WillRaise]:
    asked = [name for name in names if name.startswith("cuda")]
    if not asked:
        return
    refusal = cuda.refusal(situation)
    if refusal is not None:
        type_, text = (refusal.type, refusal.text) if refusal.cause != "cpu-build" else _without_cuda(situation)
        yield WillRaise(
            CUDA_CODES[refusal.cause],
            stage,
            type_,
            text,
            "no-cuda",
            f"the call puts the model on {asked[0]}, and {refusal.why}",
            refusal.condition,
            refusal.evidence,
        )
        return
    visible = len(need(situation.devices).visible)
    for name in asked:
        if int(name.partition(":")[2] or 0) >= visible:
            type_ = cuda.DEVICE_ERROR.value(situation.packages) if situation.packages.has("torch") else "RuntimeError"
            why = f"{name} is asked for, and this process sees {visible} GPU{'s' * (visible != 1)} (cuda:0{f' to cuda:{visible - 1}' * (visible > 1)})"
            yield WillRaise("QVL203", stage, type_, cuda.BAD_ORDINAL, "ordinal", why, evidence=Evidence.RECORDED)
            return


def _without_cuda(situation: Situation) -> tuple[str, str]:
    """A torch without CUDA words it by how the device was named."""
    given: Any = situation.request.device_map
    by_number = isinstance(given, int) or (isinstance(given, Mapping) and any(isinstance(value, int) for value in given.values()))
    if by_number and situation.packages.at_least("torch", 2):
        return cuda.NO_ACCELERATOR.value(situation.packages)
    return "AssertionError", "Torch not compiled with CUDA enabled"


# The first thing that a forward asks of a tensor without data; from 4.38 to 4.57 that is autocast, around the rotary embeddings.
_META: ByRelease[str] = ByRelease(
    "transformers",
    Row("4.32", "4.38", "Tensor.item() cannot be called on meta tensors", Evidence.RUN, "transformers 4.37.2"),
    Row("4.38", "5.0", "unsupported scalarType", Evidence.RUN, "transformers 4.57.1 models/llama/modeling_llama.py:100"),
    Row("5.0", None, "Tensor.item() cannot be called on meta tensors", Evidence.RECORDED, "transformers 5.17.0, 5.23.0"),
)  # fmt: skip


def meta(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """FORWARD: a model that was never filled."""
    if device_name(situation.request.device_map) == "meta" and situation.request.purpose != "quantize":
        text = _META.row(situation.packages)
        yield WillRaise(
            "QVL406",
            Stage.STEP if situation.request.trains else Stage.FORWARD,
            "RuntimeError",
            text.value,
            "meta",
            'device_map="meta" loads no weights at all',
            evidence=text.evidence,
        )
