"""A device_map and a max_memory that are of no form that a release takes. All of it was run on a CPU, on transformers 4.32 to 5.23."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.missing import MISSING
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.request import LiveObject, show
from qvl_preflight.stack import accelerate
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_NO_DEVICE = "device() received an invalid combination of arguments"
_EMPTY: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.32", "4.49", ("ValueError", ""), Evidence.RUN, "transformers 4.32.0 to 4.48.3: the first tensor in order has no device"),
    Row("4.50", None, ("KeyError", "''"), Evidence.RUN, "transformers 4.50.3 to 5.23.0"),
)


def forms(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """DEVICE_MAP: a value that is neither a device, a strategy nor a map of devices."""
    given = situation.request.device_map
    if isinstance(given, bool):
        yield _refused(Stage.MATERIALISE, "TypeError", _NO_DEVICE, f"device_map={given} is no device")
    elif isinstance(given, (list, float)):
        text = f"'{type(given).__name__}' object has no attribute 'values'"
        yield _refused(
            Stage.DEVICE_MAP,
            "AttributeError",
            text,
            f"device_map={show(given)} is neither a device nor a map from modules to devices",
        )
    elif isinstance(given, Mapping):
        yield from _map(situation, given)


def _map(situation: Situation, given: Mapping[Any, Any]) -> Iterator[WillRaise]:
    if not given:
        type_, text = _EMPTY.value(situation.packages)
        text = text or _first_without_device(situation)
        yield _refused(Stage.MATERIALISE, type_, text, "the device_map is empty")
        return
    odd = next((name for name in given if not isinstance(name, str)), MISSING)
    if odd is not MISSING and situation.packages.at_least("transformers", 5):
        text = f"'{type(odd).__name__}' object has no attribute 'count'"  # integrations/accelerate.py sorts them by their dots
        yield _refused(Stage.MATERIALISE, "AttributeError", text, f"the device_map names a module {odd!r}, and names are text")
        return
    yield from _numbered_cpu(situation, given)
    for name, device in given.items():
        if isinstance(device, int) and not isinstance(device, bool) and device < 0:
            yield _refused(
                Stage.MATERIALISE,
                "RuntimeError",
                "Device index must not be negative",
                f"the device_map gives {name!r} the device {device}",
            )
            return
        if device is None or isinstance(device, (bool, float)) or (name == "" and isinstance(device, list)):
            yield _refused(Stage.MATERIALISE, "TypeError", _NO_DEVICE, f"the device_map gives {name!r} the device {show(device)}")
            return


def _numbered_cpu(situation: Situation, given: Mapping[Any, Any]) -> Iterator[WillRaise]:
    """The whole model on "cpu:0", which 4.57 hands to safetensors as it stands. Run: 4.37.2 and 5.23.0 load it."""
    release, device = situation.packages.release("transformers") or (), given.get("")
    if release[:2] == (4, 57) and isinstance(device, str) and re.fullmatch(r"cpu:\d+", device) and len(given) == 1:
        why = f'the device_map says "{device}": safetensors knows "cpu" alone'
        text = " ".join(("device", device, "is invalid"))  # of any device: no symptom
        yield _refused(Stage.MATERIALISE, "SafetensorError", text, why)


def _first_without_device(situation: Situation) -> str:
    """The first tensor of the files; nothing where they are not known, or the class names its parts otherwise."""
    weights, loader = situation.checkpoint.weights, situation.request.loader
    if isinstance(weights, Unknown) or not weights.tensors or loader == "AutoModel":
        return ""
    return f"{weights.tensors[0].name} doesn't have any device set."


def limits(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """DEVICE_MAP: max_memory, which accelerate reads where device_map is a strategy."""
    given = situation.request.kwargs.get("max_memory")
    if situation.request.device_map not in accelerate.STRATEGIES or given is None or isinstance(given, LiveObject):
        return
    if not isinstance(given, Mapping):
        if situation.request.device_map != "sequential":
            kind = "string" if isinstance(given, str) else "list"
            text = f"{kind} indices must be integers" if kind in ("string", "list") else ""
            yield _bad_limit("TypeError", text, f"max_memory is {show(given)}, and a map from devices to sizes is expected")
        return
    for key, value in given.items():
        for raised in _limit(situation, key, value):
            yield raised
            return


def _limit(situation: Situation, key: Any, value: Any) -> Iterator[WillRaise]:
    if not isinstance(key, int) and key not in ("cpu", "disk", "mps"):
        text = f"Device {key} is not recognized, available devices are integers(for GPU/XPU), 'mps', 'cpu' and 'disk'"
        yield _bad_limit(
            "ValueError", text, f"max_memory names the device {key!r}; GPUs are named by their number", Evidence.RECORDED
        )
    elif isinstance(key, int) and key < 0:
        yield _bad_limit("RuntimeError", "Device index must not be negative", f"max_memory names the GPU {key}")
    elif key == "disk" and situation.request.device_map != "sequential" and not situation.packages.at_least("transformers", 5):
        yield _bad_limit(
            "RuntimeError", "Expected one of cpu, cuda", 'max_memory names "disk", which this release takes for a device of torch'
        )
    elif value is None:
        yield _bad_limit("TypeError", "", f"max_memory gives {key!r} no size")
    else:
        try:
            accelerate.size_of(value)
        except ValueError as error:
            yield _bad_limit("ValueError", str(error), f"max_memory gives {key!r} the size {value!r}")


def _refused(stage: Stage, type_: str, text: str, why: str) -> WillRaise:
    return WillRaise("QVL401", stage, type_, text, "device-map", why, evidence=Evidence.RUN)


def _bad_limit(type_: str, text: str, why: str, evidence: Evidence = Evidence.RUN) -> WillRaise:
    return WillRaise("QVL403", Stage.DEVICE_MAP, type_, text, "max-memory", why, evidence=evidence)
