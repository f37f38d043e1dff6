"""GPUs that are only named: ``24GiB``, ``2x24GiB``, ``rtx4090``, ``a100-80gb:4``.

The memory of a card is what nvidia-smi shows of it (drivers 535 to 580), in MiB; ECC takes a sixteenth where it is on as delivered. Compute
capabilities: developer.nvidia.com/cuda-gpus. About 2 % of it the driver keeps (recorded: 83 of 85 GB free on an empty A100, 84.4 of 85.5 on an H100).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Driver, Gpu, Host, Torch
from qvl_preflight.spelling import distance
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts

MIB = 2**20
_DRIVERS_SHARE = 0.02
_UNITS = {"": 1, "B": 1, "GB": 10**9, "MB": 10**6, "GIB": 2**30, "MIB": 2**20, "G": 2**30}
_SIZES = "a size such as 24GiB or 80GB, a card such as rtx4090 or a100-80gb, or several: 2x24GiB, h100:4"
_MOST = 1024  # GPUs
CARDS: dict[str, tuple[str, int, tuple[int, int]]] = {
    "p100": ("Tesla P100", 16384, (6, 0)), "v100-16gb": ("Tesla V100 16GB", 16384, (7, 0)), "v100-32gb": ("Tesla V100 32GB", 32768, (7, 0)),
    "t4": ("Tesla T4", 15360, (7, 5)), "a10": ("A10", 23028, (8, 6)), "a10g": ("A10G", 23028, (8, 6)), "a40": ("A40", 46068, (8, 6)),
    "a100-40gb": ("A100 40GB", 40960, (8, 0)), "a100-80gb": ("A100 80GB", 81920, (8, 0)), "l4": ("L4", 23034, (8, 9)), "l40": ("L40", 46068, (8, 9)),
    "l40s": ("L40S", 46068, (8, 9)), "h100": ("H100 80GB", 81559, (9, 0)), "h200": ("H200", 143771, (9, 0)), "b200": ("B200", 183359, (10, 0)),
    "rtx2080ti": ("GeForce RTX 2080 Ti", 11264, (7, 5)), "rtx3060": ("GeForce RTX 3060", 12288, (8, 6)),
    "rtx3080": ("GeForce RTX 3080", 10240, (8, 6)), "rtx3090": ("GeForce RTX 3090", 24576, (8, 6)),
    "rtx4070": ("GeForce RTX 4070", 12282, (8, 9)), "rtx4080": ("GeForce RTX 4080", 16376, (8, 9)),
    "rtx4090": ("GeForce RTX 4090", 24564, (8, 9)), "rtx5090": ("GeForce RTX 5090", 32607, (12, 0)),
    "rtxa6000": ("RTX A6000", 49140, (8, 6)), "rtx6000ada": ("RTX 6000 Ada", 49140, (8, 9)),
}  # fmt: skip
# A name that several cards bear is the smaller one: nobody is told that something fits which may not.
_OTHERS = {
    "a100": "a100-40gb",
    "v100": "v100-16gb",
    "a6000": "rtxa6000",
    "h10080gb": "h100",
    "h100sxm": "h100",
    "3090ti": "rtx3090",
}
_WORDS = re.compile(r"nvidia|geforce|tesla|sxm\d?|pcie|hbm3e?|[\s_-]")


@dataclass(frozen=True)
class Card:
    """One GPU that is thought of."""

    name: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int] | Unknown


def cards_of(texts: list[str]) -> list[Card]:
    """The GPUs of a machine, in order. Raises InputError."""
    found = [card for text in texts for card in _cards(text)]
    if len(found) > _MOST:
        raise InputError(f"--gpu: {len(found)} GPUs; expected {_MOST} at most")
    return found


def size_of(text: str, option: str, expected: str = "a size such as 64GiB") -> int:
    """The bytes that a size says. Raises InputError."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*([A-Za-z]*)", text.strip(), re.ASCII)
    if found is None or found[2].upper() not in _UNITS:
        raise InputError(f"{option} {text}: expected {expected}")
    size = int(float(found[1]) * _UNITS[found[2].upper()])
    if not 0 < size < 2**50 or (not found[2] and size < 2**20):
        unit = f"; did you mean {text.strip()}GiB?" if not found[2] and size else ""
        raise InputError(
            f"{option} {text}: {'no size that memory can have' if found[2] or not size else 'the unit is missing'}; expected {expected}{unit}"
        )
    return size


def _cards(text: str) -> list[Card]:
    several = re.fullmatch(r"\s*(\d{1,4})\s*[x×*]\s*(\S.*)|\s*(.*\S)\s*:\s*(\d{1,4})\s*", text, re.ASCII)
    count, what = (int(several[1] or several[4]), several[2] or several[3]) if several else (1, text)
    if not 0 < count <= _MOST:
        raise InputError(f"--gpu {text}: {count} GPUs; expected 1 to {_MOST}")
    return [_card(what.strip(), text)] * count


def _card(what: str, text: str) -> Card:
    if re.match(r"-?[\d.]+\s*[A-Za-z]*$", what) and _key(what) not in CARDS:
        size = size_of(what, "--gpu", _SIZES)
        return Card(what, size, size, Unknown("only the size of the GPU is given"))
    key = _key(what)
    if key not in CARDS:
        near = sorted(
            (name for name in CARDS if name.startswith(key[:4]) or distance(name, key) <= 2), key=lambda name: distance(name, key)
        )
        meant = f"; did you mean {near[0]}?" if key and near else ""
        raise InputError(
            f"--gpu {text}: no such card is known{meant} expected {_SIZES}"
            if meant
            else f"--gpu {text}: no such card is known; expected {_SIZES}"
        )
    name, mib, capability = CARDS[key]
    return Card(name, mib * MIB, int(mib * MIB * (1 - _DRIVERS_SHARE)), capability)


def _key(what: str) -> str:
    """``NVIDIA GeForce RTX 4090`` and ``4090`` alike as ``rtx4090``."""
    bare = _WORDS.sub("", what.lower())
    bare = _OTHERS.get(bare, bare)
    for name in CARDS:
        if bare in (_WORDS.sub("", name), _WORDS.sub("", name).removeprefix("rtx")):
            return name
    return bare


def thought_of(facts: Facts, cards: list[Card], ram: int | None) -> Facts:
    """The facts of a machine with these GPUs, or with that much RAM, in place of this one's."""
    host = facts.host if not cards else Host(container=False)
    if ram is not None:
        known = host if not isinstance(host, Unknown) else Host()
        host = replace(known, ram_total_bytes=ram, ram_available_bytes=ram)
    if not cards:
        return replace(facts, host=host)
    gpus = tuple(
        Gpu(number, f"GPU-{number}", card.name, card.capability, card.total_bytes, card.free_bytes, mig=False)
        for number, card in enumerate(cards)
    )
    newest = Driver("580.0", "13.0"), Torch(cuda_build="13.0", hip_build=False, xpu_build=False)
    return replace(
        facts,
        gpus=gpus,
        driver=newest[0],
        torch=newest[1],
        env={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
        host=host,
        nvidia=Unknown("no machine was looked at"),
    )
