"""What people call. Each function collects what is needed, asks the engine, and hands the result over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from qvl_preflight import engine
from qvl_preflight.auto_tables import AutoClasses, tables
from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.environment import examine
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Facts
from qvl_preflight.facts_from import FactsLike, facts_of
from qvl_preflight.jobs import is_job, launched, read_job
from qvl_preflight.live import apply_changes, plain_by_need
from qvl_preflight.locate import locate
from qvl_preflight.plan import Situation
from qvl_preflight.readers.adapter import read_peft
from qvl_preflight.readers.training import Job as TrainingJob
from qvl_preflight.readers.training import read_trainer
from qvl_preflight.report import Change, Report, Skipped
from qvl_preflight.request import ConfigObject, Request, make_request, show, to_plain, to_record
from qvl_preflight.rule import find_rule, select_rules, selection
from qvl_preflight.settings import SWITCH, is_off, off_note, read_settings
from qvl_preflight.versions import parse


class FixedKwargs(dict[str, Any]):
    """Corrected kwargs for from_pretrained.

    ``changes``: why each key changed. ``withheld``: the edits that were not made, since the call would still fail with them; the kwargs are those
    that were passed then. ``report``: everything found in the call as written. ``remaining``: what is found in the
    corrected call, withheld edits included, for what no kwarg mends. ``in_plain_form``: the keys whose objects could not be made here, since transformers or torch cannot
    be imported; from_pretrained takes them once they are made. ``print(fixed.text())`` shows all of it.
    """

    def __init__(self, kwargs: Mapping[str, Any], fixed: engine.Fixed, in_plain_form: tuple[str, ...] = ()) -> None:
        super().__init__(kwargs)
        self._fixed = fixed
        self.changes: tuple[Change, ...] = fixed.changes
        self.withheld: tuple[Change, ...] = fixed.withheld
        self.report: Report = fixed.before
        self.remaining: Report = fixed.after
        self.in_plain_form = in_plain_form

    def __repr__(self) -> str:
        """``FixedKwargs({'device_map': {'': 0}}, changed: device_map (QVL402), left: nothing)``"""
        changed = _named(self.changes)
        held = f", withheld: {_named(self.withheld)}" if self.withheld else ""
        left = ", ".join(finding.code for finding in self.remaining.findings)
        plain = f", in plain form: {', '.join(self.in_plain_form)}" if self.in_plain_form else ""
        return f"FixedKwargs({super().__repr__()}, changed: {changed or 'nothing'}{held}, left: {left or 'nothing'}{plain})"

    def text(self) -> str:
        """The corrected call, why each key changed and what is left, as ``check --fix`` prints it."""
        from qvl_preflight.render.layout import fixed_lines, plain  # only for people

        return plain(fixed_lines(self._fixed))

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from qvl_preflight.render.html import fixed_html  # only in notebooks

        return fixed_html(self._fixed)

    def to_plain(self) -> dict[str, Any]:
        """The kwargs in the plain form of the contract."""
        return {key: to_plain(to_record(value)) for key, value in self.items()}


def _named(changes: tuple[Change, ...]) -> str:
    return ", ".join(f"{change.path} ({change.code})" for change in changes)


def check(
    model: Any, /, *, purpose: str | None = None, loader: Any = None, peft: Any = None, trainer: Any = None, facts: FactsLike = None,
    online: bool | float = False, gradients: bool | Mapping[str, Any] = False, select: Iterable[str] = (), ignore: Iterable[str] = (), **kwargs: Any,
) -> Report:  # fmt: skip
    """What ``from_pretrained(model, **kwargs)`` will do on this machine, or on the one that ``facts`` describe; of a model that is loaded, what is there.

    ``model``: a local folder, a hub id in the local cache, a LLaMA-Factory job, or a loaded model. ``gradients``, for a loaded model: make one small step,
    on made-up tokens or on the batch that is given, see whether gradients arrive, and leave the model as it was. ``purpose``: inference, lora, qlora, full or quantize.
    ``trainer``: None for your own loop; TrainingArguments, a mapping of its settings, or a file of such, of DeepSpeed or of accelerate.
    ``peft``: a LoraConfig, a mapping, or an adapter_config.json. ``online``: ask the
    hub for config.json, code and headers of a model that is not here, for 30 seconds or as many as are given. Raises InputError for what
    cannot be read.
    """
    if is_off():
        return nothing_checked()
    settings = read_settings()
    if not isinstance(model, (str, os.PathLike)):
        _only_of_calls(kwargs, loader=loader, peft=peft, online=online or None)
        return _check_loaded(model, purpose, trainer, facts, gradients, *selection(select, ignore, settings)).with_notes(
            settings.notes
        )
    if gradients is not False:
        raise InputError("gradients takes a model that is loaded; nothing is loaded for a check of a call")
    case = situation(model, purpose, loader, peft, trainer, facts, kwargs, online)
    return engine.check(case, select_rules(*selection(select, ignore, settings))).with_notes(settings.notes)


def _check_loaded(
    model: Any, purpose: str | None, trainer: Any, facts: FactsLike, gradients: bool | Mapping[str, Any], select: tuple[str, ...], ignore: tuple[str, ...]
) -> Report:  # fmt: skip
    from qvl_preflight.loaded.check import check_loaded
    from qvl_preflight.loaded.look import look

    look(model)  # what is no model is refused before the machine is looked at
    select_rules(select, ignore)
    job = read_trainer(trainer)
    return check_loaded(
        model,
        facts_of(facts),
        purpose=purpose,
        trainer=job.trainer,
        gradients=gradients,
        select=select,
        ignore=ignore,
        notes=job.notes,
    )


def _only_of_calls(kwargs: Mapping[str, Any], **others: Any) -> None:
    """Raises InputError: a model that is loaded has no call."""
    for key in (*kwargs, *(name for name, value in others.items() if value is not None)):
        raise InputError(
            f"{key} belongs to a call of from_pretrained, and the model is loaded already; pass purpose, trainer or gradients"
        )


def fix_kwargs(
    model: str | os.PathLike[str], /, *, purpose: str | None = None, loader: Any = None, peft: Any = None, trainer: Any = None,
    facts: FactsLike = None, unsafe: bool = False, online: bool | float = False, select: Iterable[str] = (), ignore: Iterable[str] = (), **kwargs: Any,
) -> FixedKwargs:  # fmt: skip
    """Corrected kwargs for from_pretrained, a dict: those of a call that works, as far as is known, else the ones that were passed.

    Parameters as in `check`; ``unsafe`` applies the edits that may change the result.
    """
    if is_off():
        return _unchanged(model, kwargs)
    if isinstance(model, (str, os.PathLike)) and is_job(os.fspath(model)):
        raise InputError(
            f"{os.fspath(model)}: a job makes its call itself; pass the model and the arguments, or see 'qvl-preflight check {os.fspath(model)} --fix'"
        )
    case = situation(model, purpose, loader, peft, trainer, facts, kwargs, online)
    settings = read_settings()
    fixed = engine.fix(case, select_rules(*selection(select, ignore, settings)), unsafe=unsafe)
    corrected = apply_changes(kwargs, fixed.changes)
    plain = plain_by_need(kwargs, corrected)
    notes = (*settings.notes, *(_to_be_made(key, corrected[key]) for key in plain))
    fixed = replace(fixed, before=fixed.before.with_notes(settings.notes), after=fixed.after.with_notes(notes))
    return FixedKwargs(corrected, fixed, plain)


def _to_be_made(key: str, value: Any) -> str:
    return (
        f"{key} is in plain form, since its object cannot be made in this environment; pass {show(to_record(value))} in its place."
    )


def doctor(*, facts: FactsLike = None, deep: bool = False, select: Iterable[str] = (), ignore: Iterable[str] = ()) -> Report:
    """What is found about the environment alone."""
    if is_off():
        return nothing_checked()
    settings = read_settings()
    return examine(facts_of(facts), *selection(select, ignore, settings)).with_notes(settings.notes)


def nothing_checked() -> Report:
    """The report where the environment switches everything off (QVL_PREFLIGHT=off): incomplete, since nobody may read it as a clean one."""
    everything = Skipped(SWITCH, "every check", off_note().rstrip("."), matters=True)
    return Report((), (everything,), Facts(), notes=(off_note(),))


def _unchanged(model: Any, kwargs: Mapping[str, Any]) -> FixedKwargs:
    report, name = nothing_checked(), str(model)
    case = Situation(report.facts, Request(name, {key: to_record(value) for key, value in kwargs.items()}), Checkpoint(name, {}))
    return FixedKwargs(kwargs, engine.Fixed(case, (), report, report))


def explain(code: str) -> str:
    """The page of a rule, by its code or name. Raises InputError for one that does not exist."""
    from qvl_preflight.diagnosis.entries import ENTRIES  # causes that only a log shows
    from qvl_preflight.loaded.causes import CAUSES  # and those that only a loaded model shows
    from qvl_preflight.rule_page import readable

    for entry in (*ENTRIES, *CAUSES):
        if code.upper() == entry.code or code == entry.name:
            return entry.page
    rule = find_rule(code)
    return f"# {rule.name} ({rule.code})\n\nSeverity: {rule.severity.value} · Topic: {rule.topic}\n\n{readable(rule.page)}"


def situation(
    model: Any, purpose: str | None, loader: Any, peft: Any, trainer: Any, facts: FactsLike, kwargs: Mapping[str, Any],
    online: bool | float = False,
) -> Situation:  # fmt: skip
    """All that a plan is computed from, out of what a person passes. Raises InputError."""
    if not isinstance(model, (str, os.PathLike)):
        raise InputError(f"model is a {type(model).__name__}; expected a folder or a hub id")
    known, name = facts_of(facts), os.fspath(model)
    notes: tuple[str, ...] = ()
    if is_job(name):
        job = read_job(name, known, lambda model: locate(make_request(model, {}), known, here=facts is None, online=online))
        known, name, notes = job.facts, job.call.model, job.notes
        purpose, kwargs = purpose or job.call.purpose, {**job.call.kwargs, **kwargs}
        peft = peft if peft is not None else job.call.peft
        read = read_trainer(trainer) if trainer is not None else TrainingJob(job.call.trainer)
    else:
        read = read_trainer(trainer)
    known = launched(known, read.launch)
    adapters, strange = read_peft(peft)
    request = make_request(name, kwargs, purpose=purpose, loader=loader, peft=adapters, trainer=read.trainer)
    notes = (*known.unread, *notes, *read.notes, *strange)
    checkpoint = locate(request, known, here=facts is None, online=online)
    given = request.kwargs.get("config")
    if isinstance(given, ConfigObject):
        checkpoint = checkpoint.with_config(given.fields)
    return Situation(known, request, checkpoint, _installed_auto_classes(known) if facts is None else None, notes)


def _installed_auto_classes(facts: Facts) -> AutoClasses | None:
    """The architectures of the transformers that is installed here, where the package's table does not hold its release."""
    version = facts.packages.get("transformers") if isinstance(facts.packages, Mapping) else None
    release = parse(version) if isinstance(version, str) else None
    if release is None or tables().holds(release):
        return None
    from qvl_preflight.probes.auto_mappings import read_installed

    return read_installed()
