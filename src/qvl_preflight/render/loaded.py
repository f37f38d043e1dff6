"""What is there of a loaded model, in rows of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.counted import counted
from qvl_preflight.render.machine import bytes_text
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.loaded.record import Gradients, Loaded


def loaded_rows(loaded: Loaded) -> Iterator[tuple[str, str]]:
    """Label and text of each."""
    offloaded = sum(part.offloaded for part in loaded.parts)
    where = _sizes(loaded.devices)
    if offloaded:
        where += f" ({counted(offloaded, 'tensor')} offloaded: accelerate brings the data for the forward)"
    if loaded.sharded:
        where += f"; in pieces on every rank ({loaded.sharded})"
    yield "Where", where or "it has no tensors"
    if loaded.kernels or loaded.quantized:
        held = ", ".join(f"{name} in {counted(number, 'layer')}" for name, number in loaded.kernels.items())
        yield "Kernel", held or f"quantised by {loaded.quantized}; no layer of a package that is known"
    yield "Dtype", ", ".join(loaded.dtypes) or "none"
    yield "Trains", _trains(loaded)
    for name, text in loaded.adapters.items():
        yield "Adapter", f"{name}: {text}"
    if loaded.gradients is not None and not isinstance(loaded.gradients, Unknown):
        yield "Step", gradients_text(loaded.gradients)


def _sizes(devices: Mapping[str, int]) -> str:
    return ", ".join(f"{bytes_text(size)} on {device}" for device, size in devices.items())


def _trains(loaded: Loaded) -> str:
    trained, every = loaded.trained, [part for part in loaded.parts if part.parameter]
    if not trained:
        return f"nothing: none of {counted(len(every), 'parameter')} requires a gradient"
    numbers, total = sum(part.numbers for part in trained), sum(part.numbers for part in every) or 1
    kinds = ", ".join(dict.fromkeys(part.dtype for part in trained))
    return f"{len(trained)} of {counted(len(every), 'parameter')}, {numbers:,} numbers ({100 * numbers / total:.3g} %), {kinds}"


def gradients_text(found: Gradients) -> str:
    """``gradients reach 8 of 16 trainable tensors; zero: q_proj.lora_A ×4``"""
    text = f"gradients reach {len(found.arrived)} of {counted(found.count, 'trainable tensor')}"
    if not found.finite:
        text += ", and some are not finite"
    for word, names in (("zero", found.zero), ("none", found.missing)):
        if names:
            text += f"; {word}: {', '.join(_kinds(names))}"
    if found.arrived and found.zero and all(".lora_A." in name for name in found.zero):
        text += " (as it is while lora_B is zero)"
    return text


def _kinds(names: Iterable[str]) -> Iterator[str]:
    """Names less their layers' numbers, and how many there are of each; at most four."""
    kinds: dict[str, int] = {}
    for name in names:
        kind = ".".join(part for part in name.split(".")[-5:] if not part.isdigit() and part not in ("weight", "default"))
        kinds[kind] = kinds.get(kind, 0) + 1
    shown = list(kinds.items())
    yield from (f"{kind} ×{number}" if number > 1 else kind for kind, number in shown[:4])
    if len(shown) > 4:
        yield f"{len(shown) - 4} kinds more"
