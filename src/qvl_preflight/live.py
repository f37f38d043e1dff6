"""Records back into the live objects that from_pretrained takes. Nothing that was passed in is mutated."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.missing import MISSING
from qvl_preflight.report import Change
from qvl_preflight.request import ConfigObject, Dtype, LiveObject, TorchDevice, is_plain_form, to_plain


def apply_changes(kwargs: Mapping[str, Any], changes: tuple[Change, ...]) -> dict[str, Any]:
    """The kwargs as passed, with the changes made: live values where live ones were given, plain ones where some input was plain.

    An object that has to be added is made by importing transformers or torch; where they cannot be imported it comes in plain form.
    """
    plain = any(map(is_plain_form, kwargs.values()))
    fixed = dict(kwargs)
    for change in changes:
        value = change.after if change.after is MISSING else to_plain(change.after) if plain else _live_or_plain(change.after)
        key, *rest = change.path.split(".")
        if rest:
            fixed[key] = _with_attribute(fixed[key], rest, value)
        elif value is MISSING:
            fixed.pop(key, None)
        else:
            fixed[key] = value
    return fixed


def plain_by_need(kwargs: Mapping[str, Any], fixed: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that hold a value in plain form though nobody passed one so: what makes the object cannot be imported here."""
    if any(map(is_plain_form, kwargs.values())):
        return ()
    return tuple(key for key, value in fixed.items() if is_plain_form(value))


def _live_or_plain(value: Any) -> Any:
    try:
        return to_live(value)
    except InputError:
        return to_plain(value)


def _with_attribute(holder: Any, path: list[str], value: Any) -> Any:
    """A copy of a configuration with one field set; a removed field of a live object becomes None, its default."""
    name, rest = path[0], path[1:]
    if rest:
        inside = holder.fields if isinstance(holder, ConfigObject) else holder if isinstance(holder, Mapping) else vars(holder)
        value = _with_attribute(inside[name], rest, value)
    if isinstance(holder, Mapping):
        changed = {**holder, name: value}
        return {key: item for key, item in changed.items() if item is not MISSING}
    if isinstance(holder, ConfigObject):
        fields = {**holder.fields, name: value}
        return ConfigObject(holder.class_name, {key: item for key, item in fields.items() if item is not MISSING})
    changed_copy = copy.copy(holder)
    setattr(changed_copy, name, None if value is MISSING else value)
    return changed_copy


def to_live(value: Any) -> Any:
    """A record as the object that it stands for. Imports torch or transformers only for a record of theirs. Raises InputError."""
    if isinstance(value, Mapping):
        return {key: to_live(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_live(item) for item in value]
    if isinstance(value, (Dtype, TorchDevice)):
        torch = _import("torch", value)
        return _named(torch, value.name, value) if isinstance(value, Dtype) else torch.device(value.name)
    if isinstance(value, ConfigObject):
        make = _named(_import("transformers", value), value.class_name, value)
        fields = {key: to_live(item) for key, item in value.fields.items()}
        try:
            return make(**fields)
        except (TypeError, ValueError) as error:
            raise InputError(f"{value} cannot be made with the installed transformers: {error}") from error
    if isinstance(value, LiveObject):
        raise InputError(f"{value} is known by its class alone and cannot be made anew")
    return value


def _named(module: Any, name: str, wanted: Any) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        raise InputError(f"{wanted} cannot be made: the installed {module.__name__} has no {name}") from None


def _import(name: str, wanted: Any) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{wanted} has to be made, and {name} cannot be imported here ({error}); pass the call in plain form to get it back in plain form"
        ) from error
