"""`PreflightCallback`: looks at what a Trainer is about to train, and at its first steps.

The class of transformers that it stands on is imported when a callback is made, and not before. A check that breaks is said in one line, and the training
goes on; the only exception that leaves a callback is the one that is meant to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, TextIO

from qvl_preflight.exceptions import InputError, TrainingStopped
from qvl_preflight.report import Report, Severity

if TYPE_CHECKING:
    from qvl_preflight.loaded.watch import Watch

_STEPS = (
    3  # after which gradients that are all zero are said: rewards that are equal, or labels that are masked, make one such step
)

Event = Callable[..., None]


def _harmless(event: Event) -> Event:
    """An event of ours never ends a training that works."""

    @wraps(event)
    def quiet(self: PreflightCallback, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        try:
            if not self._off:
                event(self, args, state, control, **kwargs)
        except TrainingStopped:
            raise
        except Exception as error:
            self._give_up(f"the check failed ({type(error).__name__}: {error}); the training goes on without it")

    return quiet


class PreflightCallback:
    """A callback for transformers' Trainer, and trl's: ``Trainer(…, callbacks=[PreflightCallback()])``.

    When the training begins, the loaded model is checked as by ``check(model, trainer=args)``. An error stops it by TrainingStopped, a PreflightError,
    unless ``stop=False``. After the first step it says which trainable tensors received a gradient, and what the GPU needed against the estimate. Rank 0
    prints in full, other ranks one line where something is wrong. ``purpose``, ``select`` and ``ignore`` are those of `check`; ``quiet`` prints findings alone.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> PreflightCallback:
        return object.__new__(_on_transformers(cls))  # type: ignore[arg-type]

    def __init__(
        self, *, purpose: str | None = None, stop: bool = True, quiet: bool = False, select: Iterable[str] = (), ignore: Iterable[str] = (),
        stream: TextIO | None = None,
    ) -> None:  # fmt: skip
        from qvl_preflight.request import known_purpose
        from qvl_preflight.rule import select_rules
        from qvl_preflight.settings import is_off

        known_purpose(purpose)
        self.purpose, self.stop, self.quiet, self.select, self.ignore = purpose, stop, quiet, tuple(select), tuple(ignore)
        select_rules(self.select, self.ignore)
        self.report: Report | None = None  # of the model as the training began
        self._stream, self._off, self._first = stream, is_off(), 0
        self._watch: Watch | None = None
        self._asked: tuple[Any, ...] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        kept = {**vars(self), "_watch": None, "_asked": None, "_stream": None}
        return _again, (getattr(type(self), "_made_of", type(self)), kept)

    @_harmless
    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any = None, **kwargs: Any) -> None:
        """The live check; hooks for the first steps."""
        self._end_watch()
        from qvl_preflight.facts_from import collect_facts
        from qvl_preflight.loaded.check import check_loaded
        from qvl_preflight.readers.training import read_trainer
        from qvl_preflight.settings import read_settings

        settings, trainer = read_settings(), read_trainer(args).trainer
        self.report = report = check_loaded(
            model, collect_facts(), purpose=self.purpose, trainer=trainer, select=self.select or settings.select, ignore=self.ignore or settings.ignore
        )  # fmt: skip
        self._show(report, state)
        errors = report.at_least(Severity.ERROR)
        if errors and self.stop:
            raise TrainingStopped(f"{errors[0].code}: {errors[0].message}; PreflightCallback(stop=False) goes on")
        if report.loaded is not None and not report.loaded.sharded and not getattr(args, "torch_compile", False):
            self._begin_watch(report, model, trainer, getattr(state, "global_step", 0))

    @_harmless
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What the first step left; where nothing arrived, two more are waited for."""
        if self._watch is None:
            return
        done = getattr(state, "global_step", 0) - self._first
        found = self._watch.gradients()
        if not found.arrived and done < _STEPS:
            return
        self._end(found, done, state)

    @_harmless
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A training that was shorter than that."""
        if self._watch is not None:
            self._end(self._watch.gradients(), getattr(state, "global_step", 0) - self._first, state)

    def _begin_watch(self, report: Report, model: Any, trainer: Any, step: int) -> None:
        from qvl_preflight.loaded.watch import Watch, peaks

        config = getattr(getattr(model, "config", None), "quantization_config", None)
        self._asked, self._first = (report, trainer, config), step
        self._watch = Watch(model, shapes=bool(peaks()))

    def _end(self, found: Any, done: int, state: Any) -> None:
        from qvl_preflight.render.loaded import gradients_text

        watch, asked = self._watch, self._asked
        self._end_watch()
        if done < 1 or not found.count:
            return
        steps = "the first step" if done == 1 else f"the first {done} steps"
        if not found.arrived:
            self._say(
                f"warning: in {steps} no gradient but zero reached any of the {found.count} trainable tensors (QVL854)",
                state,
                always=True,
            )
        else:
            self._say(f"in {steps} {gradients_text(found)}", state)
        memory = _memory(asked, watch.shape if watch is not None else None)
        if memory:
            self._say(memory, state)

    def _end_watch(self) -> None:
        watch, self._watch, self._asked = self._watch, None, None
        if watch is not None:
            watch.end()

    def _show(self, report: Report, state: Any) -> None:
        """Rank 0 in full; another rank one line, where something is wrong."""
        wrong = report.at_least(Severity.WARNING)
        if getattr(state, "is_world_process_zero", True):
            if wrong or not self.quiet:
                self._write(report.text().partition("\n\nMachine\n")[0] + "\n")
        elif wrong:
            self._write(f"qvl-preflight: {_rank(report)}{', '.join(finding.code for finding in wrong)}: {wrong[0].message}\n")

    def _say(self, line: str, state: Any, *, always: bool = False) -> None:
        if getattr(state, "is_world_process_zero", True) and (always or not self.quiet):
            self._write(f"qvl-preflight: {line}\n")

    def _give_up(self, line: str) -> None:
        """Once; whatever is left of the hooks is taken away."""
        self._off = True
        try:
            self._end_watch()
        except Exception:  # nothing more can be done about it
            self._watch = None
        self._write(f"qvl-preflight: {' '.join(line.split())[:300]}\n")

    def _write(self, text: str) -> None:
        stream = self._stream or sys.stderr
        try:
            stream.write(text)
            stream.flush()
        except Exception:  # closed, full, or gone: nobody is there to be told
            return


def _rank(report: Report) -> str:
    rank = getattr(report.facts.launch, "rank", None)
    return f"rank {rank}: " if isinstance(rank, int) else ""


def _memory(asked: Any, shape: tuple[int, int] | None) -> str:
    """What the first step needed on the GPU, against the estimate; empty where there is no GPU, or the step is of another kind."""
    from qvl_preflight.estimate import estimate_memory
    from qvl_preflight.loaded.expected_memory import question
    from qvl_preflight.loaded.watch import peaks
    from qvl_preflight.render.machine import bytes_text
    from qvl_preflight.unknown import Undecided, Unknown

    report, trainer, config = asked
    after = peaks()
    if not after:
        return ""
    seen = ", ".join(f"{bytes_text(size)} on {device}" for device, size in after.items())
    line = f"memory: at most {seen} so far"
    try:
        found = estimate_memory(report.request.model, facts=report.facts, **question(report.loaded, trainer or {}, shape, config))
    except (Undecided, InputError) as error:
        return f"{line}; not estimated: {error}"
    if isinstance(found.peak_bytes, Unknown):
        return f"{line}; not estimated: {found.peak_bytes.reason}"
    return f"{line}; the estimate for this step is {bytes_text(found.peak_bytes)}"


@cache
def _on_transformers(kind: type) -> type[PreflightCallback]:
    """The class, or a subclass of somebody's, on top of transformers' own. Raises InputError where that cannot be imported."""
    try:
        from transformers import TrainerCallback
    except Exception as error:  # whatever an import of transformers dies of
        raise InputError(f"PreflightCallback is for transformers' Trainer, which cannot be imported here ({error})") from error
    if issubclass(kind, TrainerCallback):
        return kind
    return type(kind.__name__, (kind, TrainerCallback), {"__module__": kind.__module__, "__doc__": kind.__doc__, "_made_of": kind})


def _again(kind: type[PreflightCallback], state: dict[str, Any]) -> PreflightCallback:
    """Out of a pickle: the class that was made on the way has no name to be found by."""
    made = kind.__new__(kind)
    vars(made).update(state)
    return made


__all__ = ["PreflightCallback"]
