"""Says what from_pretrained will do before it does it, and hands back corrected arguments.

    fixed = qvl_preflight.fix_kwargs("Qwen/Qwen-VL-Chat-Int4", purpose="qlora", device_map=None, trust_remote_code=True)
    model = AutoModelForCausalLM.from_pretrained("Qwen/Qwen-VL-Chat-Int4", **fixed)

Importing this package loads nothing else: each name is loaded when it is first used.
"""

from __future__ import annotations

from qvl_preflight._version import __version__

TYPE_CHECKING = False  # typing costs more than this whole module
if TYPE_CHECKING:
    from qvl_preflight.api import FixedKwargs, check, doctor, explain, fix_kwargs
    from qvl_preflight.callback import PreflightCallback
    from qvl_preflight.diagnosis import diagnose
    from qvl_preflight.diagnosis.result import Diagnosis
    from qvl_preflight.estimate import estimate_memory
    from qvl_preflight.exceptions import FixDidNotConverge, InputError, PreflightError, PreflightStopped
    from qvl_preflight.facts import Facts
    from qvl_preflight.facts_from import collect_facts
    from qvl_preflight.fit_call import fit
    from qvl_preflight.fitting.answer import Fit
    from qvl_preflight.guarding import guard, install_guard, uninstall_guard
    from qvl_preflight.memory.result import MemoryEstimate
    from qvl_preflight.missing import MISSING
    from qvl_preflight.report import Change, Finding, Fix, Report
    from qvl_preflight.unknown import Unknown

_HOMES = {
    "diagnose": "diagnosis", "Diagnosis": "diagnosis.result",
    "check": "api", "fix_kwargs": "api", "doctor": "api", "explain": "api", "collect_facts": "facts_from", "FixedKwargs": "api",
    "PreflightCallback": "callback",
    "estimate_memory": "estimate", "MemoryEstimate": "memory.result", "fit": "fit_call", "Fit": "fitting.answer",
    "Facts": "facts", "Unknown": "unknown", "Report": "report", "Finding": "report", "Fix": "report", "Change": "report", "MISSING": "missing",
    "PreflightError": "exceptions", "InputError": "exceptions", "PreflightStopped": "exceptions", "FixDidNotConverge": "exceptions",
    "guard": "guarding", "install_guard": "guarding", "uninstall_guard": "guarding",
}  # fmt: skip

__all__ = [
    "MISSING", "Change", "Diagnosis", "Facts", "Finding", "Fit", "Fix", "FixDidNotConverge", "FixedKwargs", "InputError", "MemoryEstimate", "PreflightCallback", "PreflightError", "PreflightStopped", "Report", "Unknown",
    "__version__", "check", "collect_facts", "diagnose", "doctor", "estimate_memory", "explain", "fit", "fix_kwargs", "guard", "install_guard", "uninstall_guard",
]  # fmt: skip


_IPYTHON = ("load_ipython_extension", "unload_ipython_extension")  # what %load_ext looks for; nothing that people call


def __getattr__(name: str) -> object:
    if name in _IPYTHON:
        from qvl_preflight import notebook

        return getattr(notebook, name)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
