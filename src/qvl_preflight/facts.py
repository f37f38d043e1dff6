"""What is known about the machine and the process, by section. Frozen; JSON in, JSON out (schema facts/1).

Every field is a value or `Unknown`. In JSON, null or a missing key is unknown. Where "known to be absent" differs from
unknown it is spelt out: ``false`` for a distribution that is not installed or a torch without CUDA, ``driver: null`` next to
``gpus: []`` for a machine without an NVIDIA driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal

from qvl_preflight.exceptions import InputError
from qvl_preflight.json_files import read_json
from qvl_preflight.sections import (
    UNSAID,
    Build,
    Driver,
    Gpu,
    Host,
    Launch,
    Nvidia,
    Process,
    Python,
    Slice,
    Torch,
    unsaid,
)  # fmt: skip
from qvl_preflight.unknown import Undecided, Unknown, attempt, need
from qvl_preflight.versions import parse

SCHEMA = "qvl-preflight/facts/1"
_OWN = ("unknown", "unread")  # about the facts, no section
_LATER = ("world",)  # of facts that were gathered over ranks
_WRITE_IT = "write the file with 'qvl-preflight doctor --save'"
__all__ = [
    "SCHEMA",
    "Build",
    "Driver",
    "Facts",
    "Gpu",
    "Host",
    "Launch",
    "Nvidia",
    "Packages",
    "Process",
    "Python",
    "Slice",
    "Torch",
    "field_names",
]


@dataclass(frozen=True)
class Facts:
    """Everything known. ``packages`` maps normalised distribution names to a version, or False: known not to be installed."""

    python: Python | Unknown = unsaid("which Python runs")
    packages: Mapping[str, str | Literal[False] | Unknown] | Unknown = unsaid("which packages are installed")
    packages_complete: bool = True
    packages_duplicates: Mapping[str, tuple[str, ...]] | Unknown = unsaid(
        "what is installed twice"
    )  # "2.5.1 (user site)", first wins; "(conda)": its records
    torch: Torch | Unknown = unsaid("how torch is built")
    driver: Driver | Unknown | None = unsaid("which driver is installed")
    nvidia: Nvidia | Unknown = unsaid("what the system shows of NVIDIA's driver")
    gpus: tuple[Gpu, ...] | Unknown = unsaid("which GPUs there are")
    env: Mapping[str, str] | Unknown = unsaid("which environment variables are set")
    env_misspelt: Mapping[str, str] | Unknown = unsaid(
        "which variables are misspelt"
    )  # as written → its value, if a list of numbers
    env_late: Mapping[str, str] | Unknown = unsaid(
        "which variables were set too late"
    )  # after huggingface_hub was imported; `env` holds what counts
    launch: Launch | Unknown = unsaid("how the process was started")
    host: Host | Unknown = unsaid("what the host has")
    build: Build | Unknown = unsaid("which compilers are installed")
    extensions: Mapping[str, bool | Unknown] | Unknown = unsaid("which compiled modules load")
    unknown: Mapping[str, str] = field(default_factory=dict, compare=False)  # dotted path → why nobody could establish it

    unread: tuple[str, ...] = field(default=(), compare=False, metadata={"outside": False})  # notes on keys that no field reads

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment variables that are known to be set: none where nobody looked."""
        return {} if isinstance(self.env, Unknown) else self.env

    @property
    def other_gpus(self) -> tuple[str, ...]:
        """The GPUs that are known and not NVIDIA's: none where nobody looked."""
        return () if isinstance(self.host, Unknown) or isinstance(self.host.other_gpus, Unknown) else self.host.other_gpus

    def extension(self, module: str) -> bool | Unknown:
        """Whether a compiled module loads; unknown where nobody looked."""
        known = self.extensions
        return known if isinstance(known, Unknown) else known.get(module, Unknown(f"{module} is not in the facts"))

    def to_dict(self) -> dict[str, Any]:
        """The JSON of facts/1. Reasons of unknown values are kept under ``unknown``."""
        reasons: dict[str, str] = {}
        body = {f.name: _plain(getattr(self, f.name), f.name, reasons) for f in fields(self) if f.name not in _OWN}
        if isinstance(self.driver, Unknown) and self.gpus == ():  # null beside an empty list would say that there is none
            reasons["driver"] = self.driver.reason
        return {"schema": SCHEMA, **body, "unknown": reasons}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], origin: str = "facts") -> Facts:
        """Facts out of the JSON of facts/1. Raises InputError naming the first field that does not fit."""
        return _validated(raw, origin)

    @classmethod
    def load(cls, path: str) -> Facts:
        """Facts out of a file written by ``qvl-preflight doctor --save``."""
        try:
            raw = read_json(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"{path}: not readable as JSON facts ({reason}); {_WRITE_IT}") from error
        if isinstance(raw, Mapping) and "schema" not in raw:
            raise InputError(f"{path}: holds no facts: 'schema' is missing, expected {SCHEMA!r}; {_WRITE_IT}")
        return cls.from_dict(raw, path)


EVERY_LOAD_NEEDS = ("transformers", "torch")


class Packages:
    """Answers about installed distributions, three-valued through `Undecided`."""

    def __init__(self, facts: Facts) -> None:
        self._known = facts.packages
        self._complete = facts.packages_complete

    def version(self, name: str) -> str | None:
        """The installed version, None where the distribution is known to be absent. Raises Undecided."""
        found = need(self._known).get(name)
        if found is None:
            if self._complete:
                return None
            raise Undecided(f"whether {name} is installed, and in which version, is not known")
        if found is False:
            return None
        return need(found)

    def release(self, name: str) -> tuple[int, ...] | None:
        """The release as numbers, ``(4, 37, 2)``; None where absent. Raises Undecided where it cannot be read, and for what every load
        runs on: how transformers or torch behaves is no question where there is none, and the answer of an old release would be a guess."""
        version = self.version(name)
        if version is None:
            if name in EVERY_LOAD_NEEDS:
                raise Undecided(f"{name} is not installed")
            return None
        release = parse(version)
        if release is None:
            raise Undecided(f"{name} has the version {version!r}, which is not a version number")
        return release

    def at_least(self, name: str, *release: int) -> bool:
        """Is it installed, in this release or a later one? Raises Undecided."""
        return (self.release(name) or (0,)) >= release

    def has(self, name: str) -> bool:
        """Is it installed? Raises Undecided."""
        return self.version(name) is not None


def absent(facts: Facts) -> tuple[str, ...]:
    """The packages that every load needs and that are known not to be there. A torch whose build is known is there, whatever lists it."""
    packages = Packages(facts)
    missing = [name for name in EVERY_LOAD_NEEDS if attempt(lambda name=name: packages.has(name)) is False]  # type: ignore[misc]
    built = facts.torch
    known = not isinstance(built, Unknown) and (not isinstance(built.cuda_build, Unknown) or isinstance(built.hip_build, str))
    return tuple(name for name in missing if name != "torch" or not known)


def _plain(value: Any, path: str, reasons: dict[str, str]) -> Any:
    if isinstance(value, Unknown):
        if not value.reason.startswith(UNSAID):
            reasons[path] = value.reason
        return None
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name), f"{path}.{f.name}", reasons) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{path}.{key}", reasons) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item, f"{path}.{index}", reasons) for index, item in enumerate(value)]
    return value


def _validated(raw: Any, origin: str) -> Facts:
    if not isinstance(raw, Mapping):
        raise InputError(f"{origin}: facts are a JSON object, this is {type(raw).__name__}")
    if raw.get("schema", SCHEMA) != SCHEMA:
        raise InputError(f"{origin}: schema {raw['schema']!r} is not {SCHEMA!r}; {_WRITE_IT}")
    from qvl_preflight.borders import validate  # only where facts come from outside

    body = {key: value for key, value in raw.items() if key != "schema"}
    no_driver = "driver" in body and body["driver"] is None and body.get("gpus") == []
    reasons: dict[str, str] = validate(Mapping[str, str], body.get("unknown") or {}, origin, ("unknown",))
    for path in reasons:  # a key that is not there is the same as null
        if path in field_names():
            body.setdefault(path, None)
    facts: Facts = validate(Facts, _without_nulls(body, "", reasons), origin)
    if strange := _strange(body):
        facts = _replace(facts, unread=(f"{origin}: not read, since no such facts are known here: {strange}.",))
    if no_driver and isinstance(facts.driver, Unknown) and "driver" not in reasons:
        facts = _replace(facts, driver=None)
    return facts


def _strange(body: Mapping[str, Any]) -> str:
    """``gpus.0.memroy (memory?)``: a slip, or what a later version writes."""
    from qvl_preflight.borders import strange_keys

    found = [f"{path[:80]} ({near}?)" if near else path[:80] for path, near in strange_keys(Facts, body) if path not in _LATER]
    return ", ".join(found[:6]) + (f" and {len(found) - 6} more" if len(found) > 6 else "")


def _without_nulls(value: Any, path: str, reasons: Mapping[str, str]) -> Any:
    """Nulls dropped, so that defaults (unknown) take their place; with its reason where one was recorded."""
    if isinstance(value, Mapping):
        out = {}
        for key, item in value.items():
            where = f"{path}.{key}" if path else str(key)
            if item is not None:
                out[key] = _without_nulls(item, where, reasons)
            elif where in reasons:
                out[key] = Unknown(reasons[where])
            elif path in ("packages", "extensions"):  # listed without an answer; a name that is not listed is an answer
                out[key] = unsaid(f"anything about {key}")
        return out
    if isinstance(value, (list, tuple)):
        return [_without_nulls(item, f"{path}.{index}", reasons) for index, item in enumerate(value)]
    return value


def _replace(facts: Facts, **changes: Any) -> Facts:
    return Facts(**{**{f.name: getattr(facts, f.name) for f in fields(facts)}, **changes})


@lru_cache(maxsize=1)
def field_names() -> tuple[str, ...]:
    """The sections, in the order in which a report shows them."""
    return tuple(f.name for f in fields(Facts) if f.name not in ("packages_complete", *_OWN))
