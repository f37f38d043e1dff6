"""QVL4xx, continued: what a split over several GPUs does to the model's code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.devices import Devices, is_rank
from qvl_preflight.facts import Launch
from qvl_preflight.plan import LoadPlan, Situation
from qvl_preflight.remedies import Remedies
from qvl_preflight.remote_code import RemoteCode, remote_code
from qvl_preflight.report import Applicability, Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.stack.no_split import looks_into_parts
from qvl_preflight.unknown import Unknown, attempt, need


@rule(
    "QVL410",
    Severity.WARNING,
    topic="multi-gpu-split",
    symptoms=(r"Expected all tensors to be on the same device, but found at least two devices, cuda:\d and cuda:\d",),
)
def remote_code_over_several_gpus(
    request: Request,
    checkpoint: Checkpoint,
    devices: Devices,
    launch: Launch,
    plan: LoadPlan,
    situation: Situation,
    remedies: Remedies,
) -> Iterator[Finding]:
    """
    A strategy splits a model over several GPUs whose own code may not survive it.

    ## What happens
    "auto" spreads a model over all visible GPUs, also one that fits on a single one. Code that comes with a checkpoint often joins tensors of
    different layers without moving them, or does not say which blocks must stay together (`_no_split_modules`): the forward then raises
    `RuntimeError: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cuda:1`. Where the code lies in the
    checkpoint's folder it is read, and nothing is said of blocks that it keeps together.

    ## Example
    ```python hardware=two-gpus stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen-VL-Chat", device_map="auto", trust_remote_code=True)
    ```
    Use instead, where it fits:
    ```python hardware=two-gpus stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen-VL-Chat", device_map={"": 0}, trust_remote_code=True)
    ```

    ## Fix safety
    Safe where the model fits on one GPU and is not to be trained: the same weights, with room to run. Otherwise what to do is shown.
    """
    if not checkpoint.remote_code or request.device_map not in STRATEGIES or is_rank(launch) or plan.blocked("no-split"):
        return
    limits = request.kwargs.get("max_memory")
    allowed = [key for key in limits if isinstance(key, int)] if isinstance(limits, Mapping) else None
    if len(need(devices).visible) < 2 or (allowed is not None and len(allowed) < 2) or not _spreads(request, plan):
        return
    told = _what_may_break(checkpoint, remote_code(checkpoint, request.loader), situation)
    if told is None:
        return
    # Passed, or demanded before: otherwise the class may be transformers' own.
    loads = request.kwargs.get("trust_remote_code") is True or plan.blocked("trust-remote-code")
    fix = _one_gpu(request, checkpoint, remedies) if loads else None
    yield Finding(told, "forward", fix=fix, severity=Severity.WARNING if loads else Severity.NOTE)


def _spreads(request: Request, plan: LoadPlan) -> bool:
    """ "sequential" fills one GPU before it takes the next."""
    if request.device_map != "sequential":
        return True
    return (
        not isinstance(plan.device_map, Unknown) and len({home for home in plan.device_map.values() if home.startswith("cuda")}) > 1
    )


def _what_may_break(checkpoint: Checkpoint, code: RemoteCode | Unknown, situation: Situation) -> str | None:
    """The sentence; None for code that keeps together what belongs together."""
    sees = any(key in checkpoint.config for key in _VISION)
    if isinstance(code, Unknown):
        tower = "its vision tower, say, with its text" if sees else "of different layers"
        return f"this model brings its own code ({code.reason}): a split over all visible GPUs fails in the forward if it joins tensors of two GPUs ({tower})"
    deep = attempt(lambda: looks_into_parts(situation))
    cut = code.cut(of_parts=True if isinstance(deep, Unknown) else deep)
    if cut:
        return f"the checkpoint's code does not keep {' and '.join(cut[:3])} together (_no_split_modules): the forward fails if a boundary between two GPUs falls into one"
    if sees and not code.moves:
        return "the checkpoint's code moves no tensor between devices: the forward fails if its vision tower and its embeddings land on different GPUs"
    return None


def _one_gpu(request: Request, checkpoint: Checkpoint, remedies: Remedies) -> Fix:
    fix = None if request.trains or isinstance(checkpoint.weights, Unknown) else remedies.on_gpu()
    if fix is not None and all(edit.after not in STRATEGIES for edit in fix.edits if isinstance(edit.after, str)):
        return fix
    title = 'Place it on one GPU where it fits (device_map={"": 0}), or give each part of the model its device by name'
    return Fix(title, Applicability.DISPLAY)


# Keys under which configurations of remote code describe a vision tower, whose code is the least likely to move tensors between GPUs.
_VISION = ("visual", "vision_config", "vision_tower", "mm_vision_tower", "vit_config")


@rule(
    "QVL412",
    Severity.ERROR,
    topic="multi-gpu-split",
    symptoms=(r"does not support `device_map='\w+'`", r"class needs to implement the `_no_split_modules` attribute"),
)
def strategy_without_no_split(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    The model's class does not say which modules stay together, and a strategy needs that.

    ## What happens
    Up to transformers 4.49 "auto" and its kin refuse a class without `_no_split_modules`, on any machine: `ValueError: … does not support
    device_map='auto'`. From 4.35 on the model's parts are asked as well. Later releases split such a model anywhere.

    ## Example
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("example/own-code", device_map="auto", trust_remote_code=True)
    ```
    Use instead:
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("example/own-code", device_map={"": 0}, trust_remote_code=True)
    ```

    ## Fix safety
    Safe: the same weights on the GPU of this process, or on the CPU where there is none. Shown only, where no GPU has room for the model.
    """
    fix = remedies.on_gpu() if remedies.has_gpu else remedies.on_cpu()
    if fix is not None and any(edit.after in STRATEGIES for edit in fix.edits if isinstance(edit.after, str)):
        fix = Fix("Give each part of the model its device by name", Applicability.DISPLAY)
    yield from as_planned(plan, "QVL412", fix)
