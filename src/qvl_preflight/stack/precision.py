"""Half precision: what TrainingArguments refuses, what a GPU emulates, what a CPU has no kernels for.

Sources: transformers 4.28 to 5.23 training_args.py __post_init__ and utils/import_utils.py is_torch_bf16_gpu_available, is_torch_tf32_available;
torch 2.0.1 to 2.14.1 cuda/__init__.py is_bf16_supported, amp/grad_scaler.py; peft 0.4 to 0.21 tuners_utils.py. Run on a CPU: TrainingArguments of 4.37.2,
4.41.2, 4.57.1 and 5.23.0; float16 forwards of Llama, GPT-2, OPT and GPT-NeoX with torch 2.1.2, 2.2.2 and 2.13.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.request import Dtype, is_on
from qvl_preflight.stack import cuda
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.unknown import Unknown, attempt, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.facts import Gpu, Packages
    from qvl_preflight.plan import Draft, LoadPlan, Situation

_OLD_BF16 = "Your setup doesn't support bf16/gpu. You need torch>=1.10, using Ampere GPU with cuda>=11.0"
# Without any GPU bf16=True passed up to 4.51, and trained on the CPU.
_BF16_WITHOUT_GPU: ByRelease[str | None] = ByRelease(
    "transformers",
    Row("4.28", "4.52", None, Evidence.RUN, "transformers 4.37.2, 4.41.2: passes"),
    Row("4.52", "5.0", "Your setup doesn't support bf16/gpu.", Evidence.RUN, "transformers 4.57.1 training_args.py:1743"),
    Row("5.0", None, "Your setup doesn't support bf16/gpu. You need to assign use_cpu if you want to train the model on CPU", Evidence.RUN, "transformers 5.23.0 training_args.py:1779"),
)  # fmt: skip
_BF16_BELOW_AMPERE = ByRelease(
    "transformers",
    Row("4.28", "4.52", _OLD_BF16, Evidence.SOURCE, "transformers 4.28.1 training_args.py:1223, 4.51.3:1708"),
    Row("4.52", "5.0", "Your setup doesn't support bf16/gpu. You need Ampere+ GPU with cuda>=11.0", Evidence.SOURCE, "transformers 4.57.1 training_args.py:1743"),
    Row("5.0", None, "Your setup doesn't support bf16/gpu. You need to assign use_cpu if you want to train the model on CPU", Evidence.SOURCE, "transformers 5.0.0 training_args.py:1536"),
)  # fmt: skip
# Up to 4.34 a test of the capability alone, later torch's answer, which counts emulation from 2.3 on.
_ASKS_TORCH: ByRelease[bool] = ByRelease(
    "transformers",
    Row("4.28", "4.35", False, Evidence.SOURCE, "transformers 4.34.1 utils/import_utils.py:313"),
    Row("4.35", None, True, Evidence.SOURCE, "transformers 4.35.2 utils/import_utils.py:308, 5.23.0"),
)
_TORCH_COUNTS_EMULATION: ByRelease[bool] = ByRelease(
    "torch",
    Row("1.10", "2.3", False, Evidence.SOURCE, "torch 2.0.1, 2.1.2, 2.2.2 cuda/__init__.py"),
    Row("2.3", None, True, Evidence.SOURCE, "torch 2.3.1, 2.4.1, 2.14.1 cuda/__init__.py"),
)
_NO_FP16 = "FP16 Mixed precision training with AMP or APEX (`--fp16`) and FP16 half precision evaluation (`--fp16_full_eval`) can only be used on CUDA"
_FP16_REFUSED_UNTIL: ByRelease[tuple[int, int] | None] = ByRelease(  # the torch from which on it is not; None: never refused
    "transformers",
    Row("4.28", "4.41", (99, 0), Evidence.RUN, "transformers 4.37.2 training_args.py:1490"),
    Row("4.41", "4.42", (2, 3), Evidence.SOURCE, "transformers 4.41.2 training_args.py:1641"),
    Row("4.42", None, None, Evidence.RUN, "transformers 4.57.1, 5.23.0: no such test"),
)
_NO_TF32 = "--tf32 requires Ampere or a newer GPU arch, cuda>=11 and torch>=1.7"
_BOTH = "At most one of fp16 and bf16 can be True, but not both"


# TrainingArguments asks in this order: bf16, both at once, fp16, tf32. Each is a step of its own: what one hangs on leaves the others decided.


def both_precisions(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: fp16 and bf16 at once."""
    given = situation.request.trainer or {}
    if is_on(given.get("fp16")) and is_on(given.get("bf16")):
        why = "fp16 and bf16 are both asked for, and a step has one precision"
        yield WillRaise("QVL809", Stage.TRAINER, "ValueError", _BOTH, "trainer-precision", why, evidence=Evidence.RUN)


def bf16(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: bf16 where TrainingArguments refuses it."""
    given = situation.request.trainer or {}
    if not (is_on(given.get("bf16")) or is_on(given.get("bf16_full_eval"))) or situation.request.trains_on_cpu:
        return
    refusal = cuda.refusal(situation)
    if refusal is not None:
        row = _BF16_WITHOUT_GPU.row(situation.packages)
        if row.value is not None and not _other_accelerator(situation.packages):
            why = f"bf16=True without use_cpu=True needs a GPU, and {refusal.why}"
            yield WillRaise(
                "QVL806", Stage.TRAINER, "ValueError", row.value, "trainer-precision", why, refusal.condition, row.evidence
            )
        return
    gpu = cuda.first_below(situation, ("cuda:0",), cuda.AMPERE)
    if gpu is None or (_ASKS_TORCH.value(situation.packages) and _TORCH_COUNTS_EMULATION.value(situation.packages)):
        return
    below = _BF16_BELOW_AMPERE.row(situation.packages)
    why = f"{cuda.describe(gpu)} has no bfloat16, which begins with compute capability 8.0"
    yield WillRaise("QVL806", Stage.TRAINER, "ValueError", below.value, "trainer-precision", why, evidence=below.evidence)


def fp16(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: fp16 without a GPU."""
    given = situation.request.trainer or {}
    if not (is_on(given.get("fp16")) or is_on(given.get("fp16_full_eval"))):
        return
    row = _FP16_REFUSED_UNTIL.row(situation.packages)
    if row.value is None or (situation.packages.release("torch") or (0,)) >= row.value:
        return
    refusal = None if situation.request.trains_on_cpu else cuda.refusal(situation)
    if not situation.request.trains_on_cpu and (refusal is None or _other_accelerator(situation.packages)):
        return
    reason = refusal.why if refusal else "the Trainer is told to use the CPU"
    why = f"fp16=True needs a GPU in this release, and {reason}"
    yield WillRaise(
        "QVL807",
        Stage.TRAINER,
        "ValueError",
        _NO_FP16,
        "trainer-precision",
        why,
        refusal.condition if refusal else None,
        row.evidence,
    )


def tf32(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: tf32 on a GPU that has none, or without one. Every release and every torch refuses it in the same words."""
    if (situation.request.trainer or {}).get("tf32") is not True:
        return
    refusal = cuda.refusal(situation)
    gpu = None if refusal else cuda.first_below(situation, ("cuda:0",), cuda.AMPERE)
    if refusal is None and gpu is None:
        return
    reason = refusal.why if refusal else f"{cuda.describe(gpu)} has none" if gpu else ""
    why = f"tf32=True needs a GPU with compute capability 8.0 or later, and {reason}"
    evidence, condition = (Evidence.RUN, refusal.condition) if refusal else (Evidence.SOURCE, None)
    yield WillRaise("QVL808", Stage.TRAINER, "ValueError", _NO_TF32, "tf32", why, condition, evidence)


def _other_accelerator(packages: Packages) -> bool:
    """Is there what makes a TPU or another maker's device visible to torch?"""
    return any(packages.has(name) for name in ("torch-xla", "torch-npu", "intel-extension-for-pytorch"))


# ── what a GPU emulates ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def emulated_bfloat16(situation: Situation, plan: LoadPlan) -> tuple[str, Gpu] | None:
    """The setting that makes a GPU without bfloat16 compute in it, and that GPU. None where that is not known: nothing fails of it.

    ``dtype``, ``bnb_4bit_compute_dtype`` or ``bf16`` (the Trainer's, where it is not refused).
    """
    setting = None if plan.blocked("trainer-precision") else _computes_in_bfloat16(situation, plan)
    if setting is None:
        return None
    devices: tuple[str, ...] = ()
    if not isinstance(plan.devices, Unknown):
        devices = plan.devices
        if not any(name.startswith("cuda") for name in devices) and not _will_be_moved(situation):
            return None
    elif situation.request.device_map not in STRATEGIES:
        return None  # a strategy takes one GPU or another: it counts where all are alike
    gpu = attempt(lambda: cuda.first_below(situation, devices, cuda.AMPERE))
    return None if gpu is None or isinstance(gpu, Unknown) else (setting, gpu)


def _will_be_moved(situation: Situation) -> bool:
    """Without a device_map people move a plain model to the GPU themselves; who names its dtype means to compute in it. So does a Trainer."""
    if situation.request.trains and situation.request.trainer is not None and not situation.request.trains_on_cpu:
        return True
    asked = situation.request.kwargs.get("dtype", situation.request.kwargs.get("torch_dtype"))
    return situation.request.device_map is None and not situation.request.trains_on_cpu and asked in (Dtype("bfloat16"), "bfloat16")


def _computes_in_bfloat16(situation: Situation, plan: LoadPlan) -> str | None:
    quantization = plan.quantization
    if isinstance(quantization, Unknown):
        return None
    if quantization is not None and quantization.method == "bitsandbytes":
        asked = quantization.config.get("bnb_4bit_compute_dtype") if quantization.bits == 4 else None
        if asked in (Dtype("bfloat16"), "bfloat16"):
            return "bnb_4bit_compute_dtype"
    elif (
        plan.dtype == "bfloat16"
        and (quantization is None or quantization.method == "gptq")
        and "fp16" not in situation.request.computes_in
    ):
        return "dtype"
    return "bf16" if "bf16" in situation.request.computes_in and not situation.request.trains_on_cpu else None


# ── what a CPU has no kernels for ───────────────────────────────────────────────────────────────────────────────────────────────

# Models whose first operation after the embedding is torch's LayerNorm; the others normalise by hand and reach a matrix product first.
_LAYER_NORM_RUN = ("gpt2", "opt", "gpt_neox")
_LAYER_NORM = (*_LAYER_NORM_RUN, "bloom", "falcon", "gpt_bigcode", "gpt_neo", "gptj", "mpt", "phi", "starcoder2", "bert", "roberta")
_HALF_ON_CPU: ByRelease[tuple[str, ...]] = ByRelease(
    "torch",
    Row("1.0", "2.1", ("LayerNormKernelImpl", "addmm_impl_cpu_"), Evidence.SOURCE, "torch 1.13, 2.0: reports"),
    Row("2.1", "2.2", ("LayerNormKernelImpl", "addmm_impl_cpu_"), Evidence.RUN, "torch 2.1.2"),
    Row("2.2", "2.3", ("LayerNormKernelImpl",), Evidence.RUN, "torch 2.2.2"),
    Row("2.3", None, (), Evidence.RUN, "torch 2.13.0"),
)


def half_on_cpu(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """FORWARD: float16 weights that lie on the CPU, with a torch that has no kernels for them there."""
    if need(draft.quantization) is not None or draft.dtype != "float16" or need(draft.devices) != ("cpu",):
        return
    request = situation.request
    if (
        request.trains
        and request.trainer is not None
        and not request.trains_on_cpu
        and attempt(lambda: cuda.available(situation)) is not False
    ):
        return  # a Trainer takes it to the GPU, unless it is known that there is none
    row = _HALF_ON_CPU.row(situation.packages)
    model = _text_model(situation.checkpoint.config)
    first = "LayerNormKernelImpl" if model in _LAYER_NORM else "addmm_impl_cpu_"
    if first not in row.value:
        return
    run = row.evidence if first == "addmm_impl_cpu_" or model in _LAYER_NORM_RUN else Evidence.SOURCE
    why = "the weights are float16 and lie on the CPU, where this torch has no kernels for them"
    yield WillRaise(
        "QVL931", Stage.FORWARD, "RuntimeError", f"\"{first}\" not implemented for 'Half'", "half-on-cpu", why, evidence=run
    )


def _text_model(config: Mapping[str, Any]) -> str:
    inner = config.get("text_config")
    return str((inner if isinstance(inner, Mapping) else config).get("model_type"))


# ── the scaler of fp16 training ─────────────────────────────────────────────────────────────────────────────────────────────────

_UNSCALE = "Attempting to unscale FP16 gradients."
# torch ATen/native/cuda/AmpKernels.cu has a kernel for float32 and float16 alone; older releases word it the same way, as a RuntimeError.
_UNSCALE_BFLOAT16 = "\"_amp_foreach_non_finite_check_and_unscale_cuda\" not implemented for 'BFloat16'"
_NO_KERNEL: ByRelease[str] = ByRelease(
    "torch",
    Row("1.10", "2.11", "RuntimeError", Evidence.SOURCE, "torch 1.13, 2.1: reports"),
    Row("2.11", None, "NotImplementedError", Evidence.RECORDED, "torch 2.11.0 on an H100"),
)
_PEFT_UPCASTS = (
    0,
    12,
)  # adapters of a half-precision model are made float32 (peft 0.12.0 tuners/tuners_utils.py _cast_adapter_dtype)


def unscale(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """STEP: fp16=True with trainable weights that are no float32 (torch amp/grad_scaler.py _unscale_grads_)."""
    request = situation.request
    if "fp16" not in request.computes_in or not request.trains or request.trains_on_cpu:
        return
    scales = _scales_otherwise(situation)
    if scales is True:
        return
    quantization = need(draft.quantization)
    if quantization is not None or draft.dtype not in ("float16", "bfloat16") or not cuda.available(situation):
        return
    if request.purpose in ("lora", "qlora") and situation.packages.at_least("peft", *_PEFT_UPCASTS):
        return
    what = "the weights that are trained" if request.purpose == "full" else "the adapters, which this peft makes like the weights,"
    why = f"{what} are {draft.dtype}, and fp16=True scales gradients, which takes float32 weights"
    condition = "neither DeepSpeed nor FSDP is in use" if scales is None else None
    kind, text, evidence = "ValueError", _UNSCALE, Evidence.RECORDED
    if draft.dtype == "bfloat16":
        row = _NO_KERNEL.row(situation.packages)
        kind, text, evidence = row.value, _UNSCALE_BFLOAT16, row.evidence
    yield WillRaise("QVL810", Stage.STEP, kind, text, "fp16-unscale", why, condition, evidence)


def _scales_otherwise(situation: Situation) -> bool | None:
    """DeepSpeed and FSDP have scalers of their own. None where it is not known whether one is in use."""
    trainer, launch = situation.request.trainer or {}, situation.facts.launch
    if trainer.get("deepspeed") or trainer.get("fsdp"):
        return True
    if isinstance(launch, Unknown):
        return None
    uses = (launch.deepspeed_zero, launch.fsdp)
    if any(not isinstance(use, Unknown) and use for use in uses):
        return True
    return None if any(isinstance(use, Unknown) for use in uses) else False
