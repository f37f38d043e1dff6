"""The load plan: what from_pretrained will do, stage by stage, and where it stops.

This module holds the records; `stack/` fills them in, release by release; `planner.py` runs the stages in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qvl_preflight.devices import Devices, Home, home, visible_devices
from qvl_preflight.facts import Facts, Packages
from qvl_preflight.unknown import Unknown, attempt, need
from qvl_preflight.versions import Evidence

if TYPE_CHECKING:
    from qvl_preflight.auto_tables import AutoClasses
    from qvl_preflight.checkpoint import Checkpoint
    from qvl_preflight.request import Request

UNPLANNED = Unknown("not worked out")


class Stage(Enum):
    """The stages of a load, in the order in which they run. The value is the stage of report/1."""

    ENVIRONMENT = "import"
    ARGUMENTS = "load:arguments"
    CONFIG = "load:config"
    DTYPE = "load:dtype"
    DEVICE_MAP = "load:device_map"
    MODEL = "load:model"
    KERNEL = "load:kernel"
    MATERIALISE = "load:materialise"
    FORWARD = "forward"
    ADAPTERS = "train:adapters"
    TRAINER = "train:trainer"
    STEP = "train:step"

    @property
    def reported(self) -> str:
        """import, load, forward or train."""
        return self.value.split(":")[0]


@dataclass(frozen=True)
class WillRaise:
    """An exception that this call will meet. ``text``: its message, or the beginning, as the installed release words it.

    ``cause`` is a short key: a later exception of the same cause is a consequence and is left out. ``condition`` is None where
    it is certain, else what it depends on. ``why`` is the sentence for people.
    """

    code: str
    stage: Stage
    type: str
    text: str
    cause: str
    why: str
    condition: str | None = None
    evidence: Evidence = Evidence.SOURCE
    at: str = ""  # the line that raises it, where the message says nothing

    @property
    def certain(self) -> bool:
        """Certain, and seen to happen on a real stack: an error. All else is a warning."""
        return self.condition is None and self.evidence is not Evidence.SOURCE


@dataclass(frozen=True)
class Kernel:
    """A quantised linear layer. ``name`` is its module without ``qlinear_`` and ``_kernel``."""

    name: str
    class_name: str
    backend: str  # auto-gptq, gptqmodel, bitsandbytes, …
    devices: tuple[str, ...]  # cuda, cpu
    trainable: bool
    path: str = ""  # the dotted module, where a message quotes it


@dataclass(frozen=True)
class Quantization:
    """How the loaded model is quantised: the checkpoint's settings with the loading attributes of the call on top."""

    method: str
    config: Mapping[str, Any]
    pre_quantized: bool
    backend: str | Unknown = UNPLANNED

    @property
    def bits(self) -> int:
        """Bits of a weight; 4 where nothing is said, as the configuration classes default."""
        if self.config.get("load_in_8bit"):
            return 8
        bits = self.config.get("bits", 4)
        return bits if isinstance(bits, int) else 4


@dataclass(frozen=True)
class Situation:
    """All that a plan is computed from."""

    facts: Facts
    request: Request
    checkpoint: Checkpoint
    auto_classes: AutoClasses | None = None  # of the installed transformers, read where no table covers that release
    notes: tuple[str, ...] = ()  # about what was given: names that say nothing

    @cached_property
    def packages(self) -> Packages:
        """Answers about installed releases."""
        return Packages(self.facts)

    @cached_property
    def devices(self) -> Devices | Unknown:
        """The GPUs that this process sees."""
        return visible_devices(self.facts)

    @cached_property
    def home(self) -> Home | None:
        """The GPU of this process, with room for the checkpoint where its size is known."""
        size = attempt(lambda: need(self.checkpoint.total_bytes))
        return home(self.facts, self.devices, 0 if isinstance(size, Unknown) else size)

    def as_corrected(self, request: Request) -> Situation:
        """The same machine and model under other kwargs."""
        return replace(self, request=request, checkpoint=self.checkpoint.as_asked(request.kwargs))


@dataclass
class Draft:
    """The plan while its stages run; every value is unknown until a stage sets it."""

    quantization: Quantization | Unknown | None = UNPLANNED
    dtype: str | Unknown = UNPLANNED
    device_map: Mapping[str, str] | Unknown = UNPLANNED  # module → cuda:0, cpu, disk, meta; "" is the whole model
    devices: tuple[str, ...] | Unknown = UNPLANNED
    kernel: Kernel | Unknown | None = UNPLANNED
    kernel_device: str | Unknown = UNPLANNED  # the device for which the kernel was chosen
    kernel_condition: str | None = None  # what the choice takes for granted
    first_parameter: str | Unknown = UNPLANNED  # where next(model.parameters()) lies: cuda:0, cpu, meta
    trainable: bool | Unknown = UNPLANNED
    memory: Mapping[str, int] | Unknown = UNPLANNED  # device → bytes of weights
    parts_are_guessed: bool = False  # a strategy's split, of modules that are put together from names
    split_is_about: bool = False  # a strategy's split, from names or from free memory: transformers may cut some blocks away
    raises: list[WillRaise] = field(default_factory=list)
    undecided: list[tuple[Stage, str, str]] = field(default_factory=list)  # stage, question, reason

    def failed(self, cause: str) -> bool:
        """Has something already been raised for this cause?"""
        return any(raised.cause == cause for raised in self.raises)


@dataclass(frozen=True)
class LoadPlan:
    """What the call will do. Later stages are worked out even where an earlier one stops the load."""

    quantization: Quantization | Unknown | None
    dtype: str | Unknown
    device_map: Mapping[str, str] | Unknown
    devices: tuple[str, ...] | Unknown
    kernel: Kernel | Unknown | None
    kernel_condition: str | None
    trainable: bool | Unknown
    raises: tuple[WillRaise, ...]
    undecided: tuple[tuple[Stage, str, str], ...]
    memory: Mapping[str, int] | Unknown
    split_is_about: bool = False
    idle_gpu: str = ""  # that could hold the plain model which nobody placed

    @property
    def stops_at(self) -> WillRaise | None:
        """The first exception that is certain."""
        return next((raised for raised in self.raises if raised.certain), None)

    def blocked(self, *causes: str) -> bool:
        """Is something raised for one of these causes?"""
        return any(raised.cause in causes for raised in self.raises)

    def raised(self, code: str) -> tuple[WillRaise, ...]:
        """The exceptions that a rule's page explains."""
        return tuple(raised for raised in self.raises if raised.code == code)

    def to_dict(self) -> dict[str, Any]:
        """The ``plan`` of report/1."""
        kernel = self.kernel
        return {
            "device_map": _known(self.device_map, lambda found: dict(found)),
            "devices": _known(self.devices, list),
            "kernel": kernel.name if isinstance(kernel, Kernel) else None,
            "dtype": _known(self.dtype, str),
            "trainable": _known(self.trainable, bool),
            "memory": _known(self.memory, lambda found: dict(found)),
            "stops": self.stops_at.stage.reported if self.stops_at else None,
        }


def _known(value: Any, convert: Any) -> Any:
    return None if isinstance(value, Unknown) else convert(value)
