"""Probes establish facts and never judge. Each returns its section, or Unknown with the reason; none initialises CUDA or imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qvl_preflight.facts import Facts, field_names
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def collect(sections: Iterable[str] | None = None) -> Facts:
    """The facts of this machine and process; only the ``sections`` asked for (default: all)."""
    wanted = set(field_names() if sections is None else sections)
    found: dict[str, Any] = {}
    for names, probe in _probes():
        if wanted & set(names):
            found |= _guarded(names, probe)
    return Facts(**{name: value for name, value in found.items() if name in wanted})


def _probes() -> tuple[tuple[tuple[str, ...], Callable[[], dict[str, Any]]], ...]:
    from qvl_preflight.probes import extensions, host, launch, nvml, packages

    return (
        (("driver", "nvidia", "gpus"), nvml.probe),
        (("packages", "packages_duplicates"), packages.probe),
        (("torch",), packages.probe_torch),
        (("env", "env_misspelt", "env_late", "launch"), launch.probe),
        (("python", "host"), host.probe),
        (("build",), host.probe_build),
        (("extensions",), extensions.probe),
    )


def _guarded(names: tuple[str, ...], probe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A probe that fails leaves its sections unknown: the doctor must survive its patient."""
    try:
        return probe()
    except Exception as error:  # whatever a broken machine can raise
        return dict.fromkeys(names, Unknown(f"the probe failed: {type(error).__name__}: {error}"))
