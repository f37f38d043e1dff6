"""A model over several devices: what each holds once the device_map is worked out, and what spills to the CPU or the disk.

A part that lies in RAM or on the disk is run by the first GPU of the map, which takes its weights one module at a time (accelerate 0.20 to 1.15
big_modeling.py dispatch_model, main_device; hooks.py AlignDevicesHook); its keys, values and activations lie there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qvl_preflight.memory.one_gpu import Part
from qvl_preflight.memory.parts import SEES
from qvl_preflight.memory.shape import shape_of
from qvl_preflight.plan import Draft
from qvl_preflight.request import device_name
from qvl_preflight.stack import placement
from qvl_preflight.unknown import Unknown, attempt, need

if TYPE_CHECKING:
    from qvl_preflight.fitting.call import Call
    from qvl_preflight.memory.result import MemoryEstimate
    from qvl_preflight.memory.weights import Stored

_HEADS = ("lm_head", "embed_out", "output")
_BLOCK = re.compile(r"^(.*?)\.(\d+)\.")
AWAY = ("cpu", "disk")


@dataclass(frozen=True)
class Away:
    """What lies beside the GPUs, in one place."""

    total_bytes: int
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Spread:
    """``shares``: figures by device; ``homes``: the map, module → device; ``about``: another split is possible, by what is free when it loads."""

    homes: Mapping[str, str]
    shares: Mapping[str, MemoryEstimate]
    away: Mapping[str, Away]
    about: bool


def homes_of(call: Call) -> tuple[Mapping[str, str], bool]:
    """The device_map as the plan of `check` works it out, and whether it is about. Raises Undecided."""
    draft = Draft(quantization=call.quantization, dtype=call.dtype)
    attempt(lambda: list(placement.place(call.case, draft)))  # what is wrong with a map is said by check
    found = draft.device_map
    return (_as_given(call) or need(found) if isinstance(found, Unknown) else found), draft.split_is_about


def _as_given(call: Call) -> dict[str, str] | None:
    """A map that names each device itself, where the release that would read it is not known."""
    given = call.device_map if isinstance(call.device_map, Mapping) else {"": call.device_map}
    named = {str(name): device_name(value) for name, value in given.items()}
    devices = {name: "cuda:0" if device == "cuda" else device for name, device in named.items()}
    known = all(device is not None and (device in AWAY or device.startswith("cuda:")) for device in devices.values())
    return {name: str(device) for name, device in devices.items()} if known and devices else None


def spread_of(call: Call, placed: tuple[Mapping[str, str], bool] | None = None) -> Spread:
    """What each device holds. ``placed``: what `homes_of` said, where it was asked already. Raises Undecided."""
    homes, about = placed or homes_of(call)
    stored = call.stored()
    held: dict[str, list[Stored]] = {device: [] for device in homes.values()}
    for one in stored:
        held.setdefault(placement.home_of(homes, one.name), []).append(one)
    gpus = [device for device in dict.fromkeys(homes.values()) if device.startswith("cuda")]
    away = {
        device: Away(sum(one.total_bytes for one in held[device]), _modules(homes, device)) for device in AWAY if held.get(device)
    }
    runs = _layers(call, stored, homes, gpus)
    head = _head(stored, homes)
    shares = {}
    for device in gpus:
        last = device == (gpus[0] if head in AWAY else head)
        layers = sum(home == device for home in runs)
        share = _with_buffers(call, homes, device).estimate(Part(tuple(held[device]), layers, last))
        if away and device == gpus[0]:
            share = _with_visitors(share, [one for place in away for one in held[place]])
        shares[device] = share
    return Spread(homes, shares, away, about)


def _with_buffers(call: Call, homes: Mapping[str, str], device: str) -> Call:
    """The call with the tensors alone that the class makes for that device."""
    if call.loader.buffers is None:
        return call
    here = tuple(one for one in call.loader.buffers if placement.home_of(homes, one.name) == device)
    return replace(call, loader=replace(call.loader, buffers=here))


def _with_visitors(share: MemoryEstimate, lent: Iterable[Stored]) -> MemoryEstimate:
    """The largest module that comes from elsewhere for its turn."""
    most = max((one.total_bytes for one in lent), default=0)
    peak = share.peak_bytes
    return replace(share, gathered_bytes=most, peak_bytes=peak if isinstance(peak, Unknown) else peak + most)


def _layers(call: Call, stored: Iterable[Stored], homes: Mapping[str, str], gpus: list[str]) -> list[str]:
    """The GPU that runs each layer of the decoder; nothing where its layers cannot be told."""
    shape = attempt(lambda: shape_of(call.checkpoint.config))
    rows: dict[str, dict[int, str]] = {}
    for one in stored:
        if (found := _BLOCK.match(one.name)) and not SEES.search(one.name):
            rows.setdefault(found[1], {}).setdefault(int(found[2]), placement.home_of(homes, one.name))
    if isinstance(shape, Unknown) or not gpus:
        return []
    row = next((row for row in rows.values() if len(row) == shape.layers), {})
    return [gpus[0] if home in AWAY else home for home in row.values()]


def _head(stored: Iterable[Stored], homes: Mapping[str, str]) -> str:
    """Where the output layer lies; one that is tied, where the map says, else where the embedding does."""
    names = [one.name for one in stored]
    own = next((name for name in names if name.rpartition(".")[0].rpartition(".")[2] in _HEADS), "lm_head.weight")
    return placement.covering(homes, own) or placement.home_of(homes, names[0] if names else "")


def _modules(homes: Mapping[str, str], device: str) -> tuple[str, ...]:
    return tuple(name or "the whole model" for name, home in homes.items() if home == device)
