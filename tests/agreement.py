"""Does a plan agree with what really happened? Used with fresh runs (tests/reality) and with recordings (tests/test_recordings.py)."""

from __future__ import annotations

from typing import Any

from qvl_preflight.report import Report


def disagreement(report: Report, real: dict[str, Any]) -> str | None:
    """Where plan and outcome part, in words; None where they agree."""
    errors = _errors(report)
    if real["outcome"] == "error":
        return _other_exception(errors, real)
    if real["outcome"] != "ok":
        return f"the run {real['outcome']}"
    if real.get("grads") == 0:
        return (
            None if [f.code for f in errors] == ["QVL802"] else f"no adapter received a gradient, said {[f.code for f in errors]}"
        )
    if errors:
        return f"worked, said {[(finding.code, finding.message) for finding in errors]}"
    return _other_result(report, real)


def _errors(report: Report) -> list[Any]:
    return [finding for finding in report.findings if finding.severity and finding.severity.value == "error"]


def named(report: Report, real: dict[str, Any]) -> bool:
    """Does the first error name the exception that was met: type, beginning of the text, and stage?"""
    return _other_exception(_errors(report), real) is None


def same_place(report: Report, real: dict[str, Any]) -> bool:
    """Are the devices those that the parameters showed?"""
    assert report.plan is not None
    return set(real["devices"]) == set(report.plan.to_dict()["devices"] or ())


def same_kernel(report: Report, real: dict[str, Any]) -> bool:
    """Is the quantised layer the one that was found in the model, or none as there? Where the recording does not say, yes."""
    assert report.plan is not None
    return "linear" not in real or _module(real) == (report.plan.to_dict()["kernel"] or "linear")


def _module(real: dict[str, Any]) -> str:
    name: str = real["linear"]
    return name.removeprefix("qlinear_").removesuffix("_kernel")


def _other_exception(errors: list[Any], real: dict[str, Any]) -> str | None:
    error = real["error"]
    if not errors:
        return f"raised {error['type']}: {error['message'][:120]} at {error.get('at')}, nothing was said"
    raises = errors[0].raises
    if raises is None:
        return f"raised {error['type']}, said {errors[0].code} without an exception"
    said, got = " ".join(raises.text.split()), " ".join(error["message"].split())
    if raises.type != error["type"] or not got.startswith(said[:80]) or (got and not said):
        return f"raised {error['type']}: {got[:120]}, said {raises.type}: {said[:120]}"
    stage = "load" if raises.stage.reported == "import" else raises.stage.reported
    return None if stage == real["stage"] else f"raised in {real['stage']}, said {stage}"


def _other_result(report: Report, real: dict[str, Any]) -> str | None:
    assert report.plan is not None
    plan = report.plan.to_dict()
    if not same_place(report, real):
        return f"on {real['devices']}, said {plan['devices']}"
    if real.get("dtype") and plan["dtype"] not in (None, real["dtype"]):
        return f"dtype {real['dtype']}, said {plan['dtype']}"
    return None if same_kernel(report, real) else f"kernel {_module(real)}, said {plan['kernel'] or 'linear'}"
