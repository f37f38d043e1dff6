"""What is seen in a loaded model: plain records, no tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qvl_preflight.unknown import Unknown


@dataclass(frozen=True)
class Part:
    """One parameter or buffer. ``offloaded``: it shows ``meta``, and a hook of accelerate brings its data for the forward."""

    name: str
    device: str
    dtype: str
    numbers: int
    size: int
    trainable: bool = False
    parameter: bool = True
    offloaded: bool = False


@dataclass(frozen=True)
class Layer:
    """A quantised linear layer. ``trains``: whether its class takes ``train()``; None where it does not say."""

    name: str
    kernel: str
    class_name: str
    backend: str
    trains: bool | None = None


@dataclass(frozen=True)
class Gradients:
    """What one small step left on the trainable parameters: names of those whose gradient is not zero, is all zero, is not there.

    ``made_up``: the step was made on made-up text, which does not reach what only images or sounds do.
    """

    arrived: tuple[str, ...]
    zero: tuple[str, ...]
    missing: tuple[str, ...]
    largest: float
    finite: bool
    made_up: bool = True

    @property
    def count(self) -> int:
        """Of all that were to get one."""
        return len(self.arrived) + len(self.zero) + len(self.missing)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        finite = self.largest if self.finite else None
        return {
            "arrived": len(self.arrived),
            "zero": list(self.zero),
            "missing": list(self.missing),
            "largest": finite,
            "finite": self.finite,
        }


@dataclass(frozen=True)
class Loaded:
    """A loaded model. ``sharded``: what holds pieces of its weights (FSDP, ZeRO-3, DTensor), empty where nothing does."""

    class_name: str
    name: str
    parts: tuple[Part, ...]
    layers: tuple[Layer, ...] = ()
    adapters: Mapping[str, str] = field(default_factory=dict)
    quantized: str | None = None
    hooked: bool = False
    sharded: str = ""
    gradients: Gradients | Unknown | None = None  # None: not asked for

    @property
    def trained(self) -> tuple[Part, ...]:
        """The parameters that require a gradient."""
        return tuple(part for part in self.parts if part.trainable)

    @property
    def without_data(self) -> tuple[Part, ...]:
        """What lies on meta, and no hook brings."""
        return tuple(part for part in self.parts if part.device == "meta" and not part.offloaded)

    @property
    def devices(self) -> dict[str, int]:
        """Bytes on each device, the most first."""
        return _summed((part.device, part.size) for part in self.parts)

    @property
    def dtypes(self) -> dict[str, int]:
        """Bytes in each dtype of the parameters, the most first."""
        return _summed((part.dtype, part.size) for part in self.parts if part.parameter)

    @property
    def kernels(self) -> dict[str, int]:
        """Layers that each kernel holds."""
        return _summed((f"{layer.kernel} ({layer.backend})", 1) for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        trained, numbers = self.trained, [part.numbers for part in self.parts if part.parameter]
        found = self.gradients
        return {
            "class": self.class_name, "devices": self.devices, "dtypes": self.dtypes, "kernels": self.kernels, "quantized": self.quantized,
            "adapters": dict(self.adapters), "sharded": self.sharded or None,
            "parameters": {"tensors": len(numbers), "numbers": sum(numbers)},
            "trainable": {"tensors": len(trained), "numbers": sum(part.numbers for part in trained), "dtypes": _summed((part.dtype, part.numbers) for part in trained)},
            "without_data": [part.name for part in self.without_data], "offloaded": sum(part.offloaded for part in self.parts),
            "gradients": found.to_dict() if isinstance(found, Gradients) else None,
        }  # fmt: skip


def _summed(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for key, size in pairs:
        total[key] = total.get(key, 0) + size
    return dict(sorted(total.items(), key=lambda item: -item[1]))
