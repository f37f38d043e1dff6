"""Which methods are looked at, and how they are put back. Held while any guard is there."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from qvl_preflight.guarding import call, made
from qvl_preflight.guarding.importing import Hook, PostImports

Wrapped = tuple[Any, str, Any]  # a class or a module, the name in it, what stands there instead
Found = Callable[[ModuleType], Iterator[Wrapped]]
Targets = Mapping[str, Found]


def _around(method: Any, what: Callable[..., Any]) -> Any:
    """A classmethod that hands its call to ``what``: the method's function first."""
    inner = method.__func__

    @functools.wraps(inner)
    def from_pretrained(cls: type, /, *args: Any, **kwargs: Any) -> Any:
        return what(inner, cls, args, kwargs)

    return classmethod(from_pretrained)


def classes(module: ModuleType, base: str, what: Callable[..., Any]) -> Iterator[Wrapped]:
    """The classes of a module that derive from ``base`` and have a from_pretrained of their own."""
    root = getattr(module, base)
    for kind in {id(each): each for each in vars(module).values() if isinstance(each, type) and issubclass(each, root)}.values():
        method = vars(kind).get("from_pretrained")
        if isinstance(method, classmethod):
            yield kind, "from_pretrained", _around(method, what)


def _noted(module: ModuleType, kind: str, note: Callable[[Any], None]) -> Iterator[Wrapped]:
    """A class whose instances are taken note of when they are made: a dataclass of its own kind calls __post_init__ of the one above."""
    holder = getattr(module, kind)
    method = vars(holder)["__post_init__"]

    @functools.wraps(method)
    def post_init(self: Any, *args: Any, **kwargs: Any) -> Any:
        done = method(self, *args, **kwargs)
        note(self)
        return done

    yield holder, "__post_init__", post_init


def _prepared(module: ModuleType) -> Iterator[Wrapped]:
    """prepare_model_for_kbit_training, under each name that peft itself gives it."""
    function = module.prepare_model_for_kbit_training

    @functools.wraps(function)
    def prepare_model_for_kbit_training(*args: Any, **kwargs: Any) -> Any:
        made.note_prepared()
        return function(*args, **kwargs)

    for name in ("peft", "peft.utils", "peft.utils.other"):
        holder = sys.modules.get(name)
        if holder is not None and vars(holder).get("prepare_model_for_kbit_training") is function:
            yield holder, "prepare_model_for_kbit_training", prepare_model_for_kbit_training


# A module, and what is looked at once it is imported. Auto classes get their from_pretrained as a copy of their base's while modeling_auto is imported.
TARGETS: Targets = {
    "transformers.modeling_utils": lambda module: classes(module, "PreTrainedModel", call.loads),
    "transformers.models.auto.modeling_auto": lambda module: classes(module, "_BaseAutoModelClass", call.loads),
    "peft.auto": lambda module: classes(module, "_BaseAutoPeftModel", call.loads_adapter),
    "transformers.training_args": lambda module: _noted(module, "TrainingArguments", made.note_trainer),
    "peft.tuners.lora.config": lambda module: _noted(module, "LoraConfig", made.note_lora),
    "peft": _prepared,
}


class Patches:
    """Put in place for the first guard, taken back with the last."""

    def __init__(self, targets: Targets = TARGETS) -> None:
        self._targets = targets
        self._lock = threading.RLock()
        self._held = 0
        self._finder: PostImports | None = None
        self._made: list[tuple[Any, str, Any, Any]] = []

    def hold(self) -> None:
        with self._lock:
            self._held += 1
            if self._held == 1:
                self._finder = PostImports({name: self._hook(found) for name, found in self._targets.items()})
                self._finder.install()

    def release(self) -> None:
        with self._lock:
            self._held -= 1
            if self._held:
                return
            if self._finder is not None:
                self._finder.remove()
            for holder, name, before, now in reversed(self._made):
                # Where somebody put something above ours, it goes on to call it, and ours does nothing then.
                if vars(holder).get(name) is now:
                    setattr(holder, name, before)
            self._made.clear()
            made.forget()

    def _hook(self, found: Found) -> Hook:
        def hook(module: ModuleType) -> None:
            with self._lock:
                if not self._held:  # an import that began under a guard and ended after it
                    return
                for holder, name, now in list(found(module)):
                    self._made.append((holder, name, vars(holder)[name], now))
                    setattr(holder, name, now)

        return hook


PATCHES = Patches()
