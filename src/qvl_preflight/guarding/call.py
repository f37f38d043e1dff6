"""One call of from_pretrained under a guard: looked at, corrected or stopped, and made. What goes wrong in here changes nothing of it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from qvl_preflight.exceptions import InputError, PreflightStopped
from qvl_preflight.guarding import active, callsite, said
from qvl_preflight.guarding.callsite import Site
from qvl_preflight.guarding.made import MADE
from qvl_preflight.settings import is_off

STOPPED = 3  # the exit code of what `qvl-preflight run` stops
_MODEL = "pretrained_model_name_or_path"
_inside: ContextVar[bool] = ContextVar("qvl_preflight_inside", default=False)  # of a call that was looked at already
_site: ContextVar[Site | None] = ContextVar("qvl_preflight_site", default=None)
_given_up: list[str] = []  # why nothing is looked at any more


@dataclass
class Answer:
    """The call to make, or what is raised in its place."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    stop: BaseException | None = None


def loads(load: Callable[..., Any], cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Stands in for from_pretrained of a model or an Auto class. An Auto class calls the concrete one: one look for both."""
    settings = active.current()
    if settings is None or _inside.get():
        return load(cls, *args, **kwargs)
    answer = _looked_at(settings, cls, args, kwargs)
    if answer.stop is not None:
        raise answer.stop
    token = _inside.set(True)
    try:
        return load(cls, *answer.args, **answer.kwargs)
    finally:
        _inside.reset(token)


def loads_adapter(load: Callable[..., Any], cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Stands in for that of peft's AutoPeftModel, which hands the arguments to an Auto class of transformers: who called it wrote that call."""
    if active.current() is None or _site.get() is not None:
        return load(cls, *args, **kwargs)
    token = _site.set(callsite.caller())
    try:
        return load(cls, *args, **kwargs)
    finally:
        _site.reset(token)


def _looked_at(settings: active.Settings, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Answer:
    as_written = Answer(args, kwargs)
    try:
        model = args[0] if args else kwargs.get(_MODEL)
        if not isinstance(model, (str, os.PathLike)) or not os.fspath(model) or _given_up or is_off():
            return as_written
        site = _site.get() or callsite.caller()
        if "unsloth" in sys.modules:
            said.once("Unsloth is loaded, which loads models in a way of its own: nothing is checked.")
            return as_written
        return _answer(settings, site, cls, os.fspath(model), as_written)
    except Exception as error:
        _give_up(error)
        return as_written


def _answer(settings: active.Settings, site: Site, cls: type, model: str, as_written: Answer) -> Answer:
    from qvl_preflight.guarding import judging  # the engine, and all it needs
    from qvl_preflight.jobs import is_job

    if is_job(model):
        return as_written
    kwargs = {name: value for name, value in as_written.kwargs.items() if name != _MODEL}
    asked = judging.Asked(model, _loader(cls), kwargs, settings.purpose, settings.mode == "fix" and site.library is None)
    try:
        judged = judging.judged(asked, MADE)
    except InputError as error:
        if site.library is None:
            said.once(f"{site}: nothing was checked: {error}")
        return as_written
    answer, told = as_written, said.Told(site, cls.__name__, judged)
    if judged.changes and (corrected := _corrected(kwargs, judged)) is not None:
        kept = {name: value for name, value in as_written.kwargs.items() if name == _MODEL}
        answer, told = Answer(as_written.args, {**kept, **corrected}), said.Told(site, cls.__name__, judged, corrected=True)
    # A library may try what fails, and go on with something else: its calls are not stopped either.
    stops = settings.dry_run or (settings.mode == "check" and site.library is None and judged.stops)
    said.tell(told, settings, stops)
    if stops:
        answer.stop = _stop(settings, said.headline_of(told))
    return answer


def _loader(cls: type) -> Any:
    """The class as the rules know it; one that only bears the name of a class of transformers is another."""
    top = cls.__module__.partition(".")[0]
    return cls.__name__ if top == "transformers" else cls if top == "modelscope" else f"{cls.__module__}.{cls.__name__}"


def _corrected(kwargs: dict[str, Any], judged: Any) -> dict[str, Any] | None:
    """Live arguments; None where one cannot be made here."""
    from qvl_preflight.live import apply_changes, plain_by_need

    corrected = apply_changes(kwargs, judged.changes)
    return None if plain_by_need(kwargs, corrected) else corrected


def _stop(settings: active.Settings, headline: str) -> BaseException:
    if settings.run is not None and threading.current_thread() is threading.main_thread():
        return SystemExit(STOPPED)
    return PreflightStopped(headline)


def _give_up(error: Exception) -> None:
    """A slip of ours is said in one line; what hangs once would hang at every call."""
    if isinstance(error, TimeoutError):
        _given_up.append(str(error))
    try:
        said.once(f"nothing was checked: {type(error).__name__}: {error}")
    except Exception:
        return
