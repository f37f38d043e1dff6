"""The call under inspection: what from_pretrained is given, for which purpose, by whom.

Inside, every value is plain: JSON values and four records for what JSON has no word for. Live objects (a GPTQConfig, a
torch.dtype) become records on the way in and come back as live objects on the way out (`live.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.loaders import class_name, hub_of
from qvl_preflight.missing import MISSING, Missing
from qvl_preflight.plain_names import quantization_config, torch_dtype

PURPOSES = ("inference", "lora", "qlora", "full", "quantize")
TRAINING = ("lora", "qlora", "full")


def known_purpose(purpose: str | None) -> None:
    """Raises InputError for a purpose that is none."""
    if purpose is not None and purpose not in PURPOSES:
        raise InputError(f"purpose {purpose!r} is not known; expected one of {', '.join(PURPOSES)}")


@dataclass(frozen=True)
class ConfigObject:
    """A configuration object, ``GPTQConfig(bits=4)``: its class and its fields."""

    class_name: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.class_name}({', '.join(f'{key}={show(value)}' for key, value in self.fields.items())})"


@dataclass(frozen=True)
class Dtype:
    """A torch.dtype by its name, ``float16``."""

    name: str

    def __str__(self) -> str:
        return f"torch.{self.name}"


@dataclass(frozen=True)
class TorchDevice:
    """A torch.device, ``cuda:0``."""

    name: str

    def __str__(self) -> str:
        return f'torch.device("{self.name}")'


@dataclass(frozen=True)
class LiveObject:
    """Any other live object, known by its class alone."""

    class_name: str

    def __str__(self) -> str:
        return f"<{self.class_name}>"


@dataclass(frozen=True)
class Request:
    """One call of from_pretrained. ``trainer`` is None for a person's own loop, ``{}`` for a Trainer with defaults."""

    model: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    purpose: str = "inference"
    purpose_named: bool = False
    loader: str | None = None
    hub: str = "huggingface"  # modelscope: the class is modelscope's, which reads its own cache
    peft: Mapping[str, Any] | None = None
    trainer: Mapping[str, Any] | None = None

    @property
    def trains(self) -> bool:
        """Is something trained after the load?"""
        return self.purpose in TRAINING

    @property
    def device_map(self) -> Any:
        """The device_map as given, None where it is not."""
        return self.kwargs.get("device_map")

    @property
    def named_devices(self) -> list[str | None]:
        """The devices that the device_map names, one for each of its entries; None for what is not a device."""
        given = self.device_map
        return [device_name(value) for value in (given.values() if isinstance(given, Mapping) else [given])]

    @property
    def asks_for_cpu(self) -> bool:
        """Does the person say, in so many words, that the whole model belongs on the CPU?

        By the device_map, by a max_memory that leaves nothing else, or by telling the Trainer to use the CPU.
        """
        given, limits = self.device_map, self.kwargs.get("max_memory")
        if set(self.named_devices) == {"cpu"} or self.trains_on_cpu:
            return True
        return isinstance(given, str) and isinstance(limits, Mapping) and bool(limits) and set(limits) <= {"cpu", "disk"}

    @property
    def trains_on_cpu(self) -> bool:
        """Is the Trainer told to use the CPU (``no_cuda`` up to 4.57, ``use_cpu`` since 4.35)?"""
        trainer = self.trainer or {}
        return trainer.get("use_cpu") is True or trainer.get("no_cuda") is True

    @property
    def computes_in(self) -> frozenset[str]:
        """The half precision of a training step: TrainingArguments' ``fp16`` or ``bf16``, or what accelerate's own file names."""
        trainer = self.trainer or {}
        return frozenset(
            name for name in ("fp16", "bf16") if is_on(trainer.get(name)) or trainer.get("accelerate_mixed_precision") == name
        )

    def with_edits(self, edits: Mapping[str, Any]) -> Request:
        """The call with values set or removed (MISSING), by dotted path. Nothing is mutated."""
        kwargs: Any = self.kwargs
        for path, value in edits.items():
            kwargs = _edited(kwargs, path.split("."), value)
        return replace(self, kwargs=kwargs)

    def get(self, path: str) -> Any:
        """The value at a dotted path, MISSING where there is none."""
        value: Any = self.kwargs
        for key in path.split("."):
            inside = value.fields if isinstance(value, ConfigObject) else value
            if not isinstance(inside, Mapping) or key not in inside:
                return MISSING
            value = inside[key]
        return value


def make_request(
    model: str, kwargs: Mapping[str, Any], *, purpose: str | None = None, loader: Any = None, peft: Any = None, trainer: Any = None
) -> Request:
    """The request for a call as a person writes it, live or plain. Raises InputError."""
    known_purpose(purpose)
    if loader is not None and not isinstance(loader, (str, type)):
        raise InputError(f"loader is a {type(loader).__name__}; expected a class of transformers or its name")
    try:
        trainer, peft = _as_mapping(trainer, "trainer"), _as_mapping(peft, "peft")
        records = {key: to_record(value) for key, value in kwargs.items()}
        asked = kwargs.get("quantization_config")
        if isinstance(asked, Mapping) and isinstance(asked.get("__class__"), str):  # a live object has its class
            quantization_config(asked["__class__"])
    except RecursionError:
        raise InputError("the call: an argument holds itself, or is nested too deep; expected values that have an end") from None
    return Request(
        model=model,
        kwargs=records,
        purpose=purpose or ("lora" if peft is not None else "full" if trainer is not None else "inference"),
        purpose_named=purpose is not None,
        loader=None if loader is None else class_name(loader),
        hub=hub_of(loader),
        peft=peft,
        trainer=trainer,
    )


def to_record(value: Any) -> Any:
    """A live or plain value as a record. Unknown classes become a LiveObject; nothing is imported to find out."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, (ConfigObject, Dtype, TorchDevice, LiveObject)):
        return value
    if isinstance(value, Mapping):
        return _from_mapping(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_record(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, type):
        return LiveObject(f"type {value.__name__}")
    kind = type(value)
    if kind.__module__ == "torch":
        if kind.__name__ == "dtype":
            return Dtype(str(value).removeprefix("torch."))
        if kind.__name__ == "device":
            return TorchDevice(str(value))
    if kind.__name__.endswith("Config") and hasattr(value, "to_dict"):
        return ConfigObject(
            kind.__name__, {key.lstrip("_"): to_record(item) for key, item in vars(value).items() if key != "quant_method"}
        )
    return LiveObject(kind.__name__)


def _from_mapping(value: Mapping[Any, Any]) -> Any:
    if "__class__" in value:
        return ConfigObject(str(value["__class__"]), {key: to_record(item) for key, item in value.items() if key != "__class__"})
    if "__dtype__" in value:
        return Dtype(torch_dtype(str(value["__dtype__"])))
    if "__device__" in value:
        return TorchDevice(str(value["__device__"]))
    if "__object__" in value:
        return LiveObject(str(value["__object__"]))
    return {key: to_record(item) for key, item in value.items()}


def to_plain(value: Any) -> Any:
    """A record as the JSON of the contract."""
    match value:
        case ConfigObject(name, fields):
            return {"__class__": name, **{key: to_plain(item) for key, item in fields.items()}}
        case Dtype(name):
            return {"__dtype__": name}
        case TorchDevice(name):
            return {"__device__": name}
        case LiveObject(name):
            return {"__object__": name}
        case Missing.MISSING:
            return {"__missing__": True}
        case Mapping():
            return {key: to_plain(item) for key, item in value.items()}
        case list() | tuple():
            return [to_plain(item) for item in value]
    return value


def is_plain_form(value: Any) -> bool:
    """Does a value, as a person passed it, hold an object in plain form?"""
    if isinstance(value, Mapping):
        return bool({"__class__", "__dtype__", "__device__", "__object__"} & value.keys()) or any(
            map(is_plain_form, value.values())
        )
    return isinstance(value, (ConfigObject, Dtype, TorchDevice)) or (
        isinstance(value, (list, tuple)) and any(map(is_plain_form, value))
    )


def show(value: Any) -> str:
    """A record as a person would write it in Python."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{show(key)}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(show, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value) if value is None or isinstance(value, (bool, int, float, Missing)) else str(value)


def is_on(value: Any) -> bool:
    """A switch of TrainingArguments: True, or a text that says so, which counts as true there (as any text does)."""
    return value is True or (isinstance(value, str) and value.lower() in ("true", "yes", "on", "1"))


def device_name(value: Any) -> str | None:
    """``0``, ``"cuda:0"`` and ``torch.device("cuda", 0)`` alike as ``cuda:0``; None for what is not a device."""
    if isinstance(value, TorchDevice):
        return value.name
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return f"cuda:{value}"
    if isinstance(value, str):
        return f"cuda:{value}" if value.isascii() and value.isdecimal() else value
    return None


def _edited(holder: Any, path: list[str], value: Any) -> Any:
    inside = holder.fields if isinstance(holder, ConfigObject) else holder
    key, rest = path[0], path[1:]
    changed = dict(inside)
    if value is MISSING and not rest:
        changed.pop(key, None)
    else:
        changed[key] = _edited(inside[key], rest, value) if rest else value
    return replace(holder, fields=changed) if isinstance(holder, ConfigObject) else changed


def _as_mapping(value: Any, name: str) -> Mapping[str, Any] | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {str(key): to_record(item) for key, item in value.items()}
    if hasattr(value, "__dict__") and not isinstance(value, type):
        return {key: to_record(item) for key, item in vars(value).items() if not key.startswith("_")}
    raise InputError(f"{name} is a {type(value).__name__}; expected a mapping or a configuration object")
