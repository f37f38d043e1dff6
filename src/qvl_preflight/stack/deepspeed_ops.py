"""The optimizers of DeepSpeed that are compiled at their first use: what they need, and when they are used.

Sources: deepspeed 0.14.5 and 0.18.3 ops/op_builder/builder.py (installed_cuda_version, assert_no_cuda_mismatch, jit_load), runtime/engine.py;
accelerate 0.26.1 to 1.15.0 accelerator.py _prepare_deepspeed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import cuda
from qvl_preflight.stack.deepspeed import config, value
from qvl_preflight.unknown import Unknown, attempt

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_MISSING = "CUDA_HOME does not exist, unable to compile CUDA op(s)"
_MISMATCH = ">- DeepSpeed Op Builder: Installed CUDA version {} does not match the version torch was compiled with {}"
_NO_NINJA = "Unable to JIT load the {} op due to ninja not being installed."
_BUILT = "DeepSpeed's operators were not built when it was installed (DS_BUILD_OPS)"


def compiled(found: Mapping[str, Any]) -> str | None:
    """The optimizer that a configuration makes DeepSpeed compile: ``cpu_adam``, ``fused_adam``; None for none."""
    kind, params = str(value(found, "optimizer.type") or ""), value(found, "optimizer.params")
    own = kind.lower() in ("adam", "adamw") and not (isinstance(params, Mapping) and params.get("torch_adam") is True)
    away = value(found, "zero_optimization.offload_optimizer.device") in ("cpu", "nvme")
    if away and (own or (not kind and found.get("zero_force_ds_cpu_optimizer") is not False)):
        return "cpu_adam"
    return "fused_adam" if own and not away else None


def build(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: a compiler, ninja and the CUDA toolkit of torch's major release. Unknown counts as there."""
    found = config(situation.request)
    name = compiled(found) if found is not None and situation.request.trains and not situation.request.trains_on_cpu else None
    tools, torch = situation.facts.build, situation.facts.torch
    if name is None or isinstance(tools, Unknown) or attempt(lambda: cuda.available(situation)) is not True:
        return
    built_for = None if isinstance(torch, Unknown) else torch.cuda_build
    if tools.ninja is False:
        text, why = _NO_NINJA.format(name), "ninja, which is not installed"
        yield WillRaise("QVL714", Stage.TRAINER, "RuntimeError", text, "deepspeed-op", _why(name, why), _BUILT)
    elif tools.nvcc is False:
        why = "nvcc of a CUDA toolkit, which is not installed"
        yield WillRaise("QVL714", Stage.TRAINER, "MissingCUDAException", _MISSING, "deepspeed-op", _why(name, why), _BUILT)
    elif isinstance(tools.nvcc, str) and isinstance(built_for, str) and tools.nvcc.split(".")[0] != built_for.split(".")[0]:
        text, why = _MISMATCH.format(tools.nvcc, built_for), f"the CUDA toolkit of torch, {built_for}, and finds {tools.nvcc}"
        yield WillRaise("QVL714", Stage.TRAINER, "CUDAMismatchException", text, "deepspeed-op", _why(name, why), _BUILT)


def _why(name: str, needed: str) -> str:
    return f"the DeepSpeed configuration asks for {name}, which is compiled at its first use; that takes {needed}"
