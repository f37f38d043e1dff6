"""Which tensors a state dict of PyTorch holds, by the text of its pickle: opcodes are looked at one by one, nothing is imported, called or built.

A pickle is a program; unpickling runs it. Here it is only read, as ``pickletools.dis`` reads it, and whatever is no part of a plain state dict is
given up. Sources: torch 1.6 to 2.14 serialization.py (persistent ids of storages), _utils.py (_rebuild_tensor_v2, _rebuild_parameter).
"""

from __future__ import annotations

import math
import pickletools
import warnings
from dataclasses import dataclass
from typing import Any

from qvl_preflight.safetensors import Tensor

_MOST_OPCODES = 5_000_000
_STORAGES = {
    "DoubleStorage": ("F64", 8), "FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2), "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4), "ShortStorage": ("I16", 2), "CharStorage": ("I8", 1), "ByteStorage": ("U8", 1), "BoolStorage": ("BOOL", 1),
}  # fmt: skip
_UNTYPED = "UntypedStorage"  # its tensors say their dtype themselves (_rebuild_tensor_v3)
_DTYPES = {
    "float64": ("F64", 8), "float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2), "float8_e4m3fn": ("F8_E4M3", 1), "float8_e5m2": ("F8_E5M2", 1),
    "int64": ("I64", 8), "int32": ("I32", 4), "int16": ("I16", 2), "uint16": ("U16", 2), "uint32": ("U32", 4), "uint64": ("U64", 8), "int8": ("I8", 1), "uint8": ("U8", 1),
    "bool": ("BOOL", 1),
}  # fmt: skip
_MARK, _OTHER = object(), object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TEXTS_AND_NUMBERS = (
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT",
    "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
)  # fmt: skip


@dataclass(frozen=True)
class _Global:
    name: str  # "torch HalfStorage"


@dataclass(frozen=True)
class _Storage:
    kind: str
    key: object


@dataclass(frozen=True)
class _Shape:
    kind: tuple[str, int]  # dtype and bytes of a value
    sizes: tuple[int, ...]
    storage: tuple[object, int]  # which, and where in it; a part of another tensor is a tensor of its own


def read_state_dict(pickled: bytes) -> tuple[Tensor, ...] | None:
    """The tensors of a state dict, tied weights, which have two names, once. None for anything else."""
    try:
        found = _Reader().run(pickled)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError):
        return None  # no pickle, or not of this kind
    if not isinstance(found, dict):
        return None
    tensors, seen = [], set[object]()
    for name, value in found.items():
        if isinstance(name, str) and isinstance(value, _Shape) and (value.storage, value.sizes) not in seen:
            seen.add((value.storage, value.sizes))
            dtype, width = value.kind
            tensors.append(Tensor(name, dtype, value.sizes, width * math.prod(value.sizes)))
    return tuple(tensors) or None


class _Reader:
    """A stack and a memo, as the pickle machine has them, of descriptions in place of objects."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, pickled: bytes) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # of escapes in a text that is none: pickletools decodes what it meets
            return self._run(pickled)

    def _run(self, pickled: bytes) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):
            if count > _MOST_OPCODES:
                raise ValueError("too long")
            if opcode.name == "STOP":
                return self._stack[-1]
            self._step(opcode.name, argument)
        raise ValueError("no end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _TEXTS_AND_NUMBERS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self._memo[int(argument)])
        elif name == "MARK":
            stack.append(_MARK)
        elif name not in ("PROTO", "FRAME"):
            getattr(self, f"_{name.lower()}")(argument)

    def _since_mark(self) -> list[Any]:
        at = len(self._stack) - 1 - self._stack[::-1].index(_MARK)
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _global(self, argument: str) -> None:
        self._stack.append(_Global(argument))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(_Global(f"{module} {name}"))

    def _empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def _empty_list(self, _: Any) -> None:
        self._stack.append([])

    def _empty_tuple(self, _: Any) -> None:
        self._stack.append(())

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _tuple1(self, _: Any) -> None:
        self._join(1)

    def _tuple2(self, _: Any) -> None:
        self._join(2)

    def _tuple3(self, _: Any) -> None:
        self._join(3)

    def _join(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(items)

    def _setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set(self._stack[-1], [key, value])

    def _setitems(self, _: Any) -> None:
        items = self._since_mark()
        self._set(self._stack[-1], items)

    def _set(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, dict):
            target.update((key, value) for key, value in zip(items[::2], items[1::2], strict=True) if isinstance(key, (str, int)))

    def _append(self, _: Any) -> None:
        self._stack.pop()

    def _appends(self, _: Any) -> None:
        self._since_mark()

    def _build(self, _: Any) -> None:
        self._stack.pop()

    def _newobj(self, _: Any) -> None:
        del self._stack[-2:]
        self._stack.append(_OTHER)

    def _binpersid(self, _: Any) -> None:
        kind, storage, key = self._stack.pop()[:3]
        module, _, name = storage.name.partition(" ")
        if kind != "storage" or module not in ("torch", "torch.storage") or name not in (*_STORAGES, _UNTYPED):
            raise ValueError("a storage of another kind")
        self._stack.append(_Storage(name, key))

    def _reduce(self, _: Any) -> None:
        given, called = self._stack.pop(), self._stack.pop()
        name = called.name if isinstance(called, _Global) else ""
        if name == "torch._utils _rebuild_tensor_v2":
            self._stack.append(_shape(given, _STORAGES[given[0].kind]))
        elif name == "torch._utils _rebuild_tensor_v3":
            self._stack.append(_shape(given, _DTYPES[given[6].name.removeprefix("torch ")]))
        elif name in ("torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state"):
            self._stack.append(given[0])
        else:
            self._stack.append({} if name == "collections OrderedDict" else _OTHER)


def _shape(given: tuple[Any, ...], kind: tuple[str, int]) -> _Shape:
    """Of the arguments that a tensor is rebuilt from: its storage, where it begins there, its sizes."""
    storage, offset, sizes = given[:3]
    return _Shape(kind, tuple(_number(size) for size in sizes), (storage.key, _number(offset)))


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError("no number")
    return value
