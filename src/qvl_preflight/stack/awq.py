"""AWQ in transformers: autoawq up to 4.57, gptqmodel in 5.x.

Sources: transformers 4.35 to 4.37 modeling_utils.py; later quantizers/quantizer_awq.py; utils/quantization_config.py AwqConfig. Recorded on 4.37.2
and 5.17.0; run without a GPU on 4.37.2, 4.41.2, 4.45.2, 4.46.3, 4.48.3, 4.51.3, 4.57.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Quantization, Stage, WillRaise
from qvl_preflight.request import ConfigObject
from qvl_preflight.stack import cuda
from qvl_preflight.stack.quant_checks import Check, a_gpu, accelerate, capability, first_refusal, no_offload, package
from qvl_preflight.unknown import need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_AUTOAWQ = replace(
    package("Loading an AWQ quantized model requires auto-awq library (`pip install autoawq`)", "autoawq"),
    evidence=Evidence.RECORDED,
)
_GPTQMODEL = replace(
    package("Loading an AWQ quantized model requires gptqmodel. Please install it with `pip install gptqmodel`", "gptqmodel"),
    evidence=Evidence.RECORDED,
)
_ACCELERATE = accelerate("Loading an AWQ quantized model requires accelerate (`pip install accelerate`)")
_MAP = no_offload("You are attempting to load an AWQ model with a device_map that contains a CPU or disk device.", code="QVL317")
_GPU = a_gpu("GPU is required to run AWQ quantized model.", code="QVL313").seen()
_ONLY_GPU = a_gpu("AWQ is only available on GPU", "ValueError", "QVL313").seen()
_GPU_OR_IPEX = a_gpu(
    "GPU is required to run AWQ quantized model. You can use IPEX version AWQ if you have an Intel CPU", code="QVL313"
).seen()


def _on_the_cpu(check: Check) -> Check:
    """A check of the branch that 4.48 to 4.57 take for GEMM weights without CUDA: IPEX."""

    def ask(situation: Situation, quantization: Quantization) -> str | None:
        return None if cuda.available(situation) or not _gemm(quantization) else check.ask(situation, quantization)

    return replace(check, ask=ask)


def _on_a_gpu(check: Check) -> Check:
    def ask(situation: Situation, quantization: Quantization) -> str | None:
        return None if not cuda.available(situation) and _gemm(quantization) else check.ask(situation, quantization)

    return replace(check, ask=ask)


def _gemm(quantization: Quantization) -> bool:
    return str(quantization.config.get("version") or "gemm").lower() == "gemm"


_IPEX_DISK = no_offload(
    "You are attempting to load an IPEX version AWQ model with a device_map that contains disk device.",
    minds=("disk",),
    code="QVL317",
).seen()
_NO_IPEX = replace(
    package("Please install IPEX package with `pip install intel_extension_for_pytorch`.", "intel-extension-for-pytorch", type_="AssertionError"),
    code="QVL313",
).seen()  # fmt: skip


def _asked_onto_the_cpu(situation: Situation, quantization: Quantization) -> str | None:
    """A bare device has become ``{"": torch.device("cpu")}`` by then, which 4.53 is the first to compare with (quantizer_awq.py:86)."""
    given = situation.request.device_map
    return (
        "the device_map puts all of the model on the CPU, which awq layers do not take"
        if given is not None and situation.request.named_devices == ["cpu"]
        else None
    )


_CPU = Check(_asked_onto_the_cpu, "ValueError", _MAP.text, "QVL327", "offload")
_BRANCHES = (_on_a_gpu(_GPU_OR_IPEX), _on_a_gpu(_MAP), _on_the_cpu(_IPEX_DISK), _on_the_cpu(_NO_IPEX))
_CHECKS: ByRelease[tuple[Check, ...]] = ByRelease(
    "transformers",
    Row("4.35", "4.38", (_GPU, _AUTOAWQ, _ACCELERATE, _MAP), Evidence.RUN, "transformers 4.37.2 modeling_utils.py:3168"),
    Row("4.38", "4.46", (_ONLY_GPU, _AUTOAWQ, _ACCELERATE, _MAP), Evidence.RUN, "transformers 4.45.2 utils/quantization_config.py AwqConfig.post_init"),
    Row("4.46", "4.48", (_AUTOAWQ, _ACCELERATE, _GPU_OR_IPEX, _MAP), Evidence.RUN, "transformers 4.46.3 quantizers/quantizer_awq.py:48"),
    Row("4.48", "4.53", (_AUTOAWQ, _ACCELERATE, *_BRANCHES), Evidence.RUN, "transformers 4.48.3, 4.52.4 quantizers/quantizer_awq.py:48"),
    Row("4.53", "5.0", (_AUTOAWQ, _ACCELERATE, *_BRANCHES, _on_a_gpu(_CPU)), Evidence.RUN, "transformers 4.53.3, 4.57.1 quantizers/quantizer_awq.py:48"),
    Row("5.0", None, (_GPTQMODEL, _ACCELERATE), Evidence.RECORDED, "transformers 5.17.0 quantizers/quantizer_awq.py"),
)  # fmt: skip
# The layers of llm-awq, another packing of the same weights.
_LLM_AWQ = capability((8, 0), "LLM-AWQ backend is only supported on ")
_PLAIN: ByRelease[str] = ByRelease(
    "transformers",
    Row("4.35", "4.36", "You cannot pass an `AwqConfig` when loading a model as you can only use AWQ models", Evidence.SOURCE, "transformers 4.35.2 modeling_utils.py:2684"),
    Row("4.36", "4.38", "You cannot quantize with AWQ a non-quantized model using transformers", Evidence.SOURCE, "transformers 4.37.2 modeling_utils.py:3118"),
)  # fmt: skip


def environment(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ENVIRONMENT: packages, CUDA and the device_map, as the release asks for them."""
    quantization = _awq(draft)
    if quantization is None or not quantization.pre_quantized:
        return
    if quantization.config.get("backend") == "llm-awq" and not situation.packages.at_least("transformers", 5):
        yield from first_refusal((_LLM_AWQ,), situation, quantization)
    checks = _CHECKS.value(situation.packages)
    yield from first_refusal(checks, situation, quantization)


def made(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: 4.35 to 4.45 cannot even make an AwqConfig without CUDA; from 4.38 on the stored settings become one, too."""
    release = situation.packages.release("transformers") or (0,)
    passed = situation.request.kwargs.get("quantization_config")
    from_dict = isinstance(passed, Mapping) and passed.get("quant_method") == "awq"
    stored = (from_dict or situation.checkpoint.quant_method == "awq") and release >= (4, 38)
    object_passed = isinstance(passed, ConfigObject) and passed.class_name == "AwqConfig"
    if not (4, 35) <= release < (4, 46) or not (stored or object_passed):
        return
    why = _ONLY_GPU.ask(situation, Quantization("awq", {}, pre_quantized=True))
    if why is not None:
        yield WillRaise("QVL313", Stage.CONFIG, _ONLY_GPU.type, _ONLY_GPU.text, "no-cuda", why, evidence=_ONLY_GPU.evidence)


_FUSES = (0, 1, 7)
_NO_FUSING = "You current version of `autoawq` does not support module fusing, please upgrade `autoawq` package to at least 0.1.7."


def fused(situation: Situation, fields: Mapping[str, Any]) -> Iterator[WillRaise]:
    """ARGUMENTS: fused modules without autoawq, or with one before them (4.36 to 4.57 utils/quantization_config.py AwqConfig.post_init)."""
    release = situation.packages.release("transformers") or (0,)
    if fields.get("do_fuse") is not True or fields.get("fuse_max_seq_len") is None or not (4, 36) <= release < (5,):
        return
    autoawq = situation.packages.release("autoawq")
    if autoawq is None or autoawq < _FUSES:
        lack = "is not installed" if autoawq is None else "is older than 0.1.7"
        evidence = Evidence.RUN if release >= (4, 57) and autoawq is None else Evidence.SOURCE
        why = f"an AwqConfig with do_fuse=True asks for autoawq, which {lack}"
        yield WillRaise("QVL301", Stage.ARGUMENTS, "ValueError", _NO_FUSING, "quant-packages", why, evidence=evidence)


def plain(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: AWQ for a model that is not quantised, before 4.38; later releases: stack/quant_environment.py."""
    quantization = _awq(draft)
    if quantization is None or quantization.pre_quantized or situation.packages.at_least("transformers", 4, 38):
        return
    row = _PLAIN.row(situation.packages)
    why = "awq needs a checkpoint that was quantised with it, and this one is plain"
    yield WillRaise("QVL321", Stage.CONFIG, "ValueError", row.value, "calibration", why, evidence=row.evidence)


def import_break(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MODEL: autoawq is archived, and 4.57 took away a name that it imports (5.0 gave it back)."""
    quantization = _awq(draft)
    if quantization is None or not quantization.pre_quantized or not _broken(situation):
        return
    why = "autoawq imports a name that transformers 4.57 no longer has, and is not maintained any more"
    yield WillRaise("QVL320", Stage.MODEL, "ImportError", _BREAK, "autoawq-import", why, evidence=Evidence.RUN)


_BREAK = "cannot import name 'PytorchGELUTanh' from 'transformers.activations'"


def _broken(situation: Situation) -> bool:
    release = situation.packages.release("transformers") or (0,)
    return (4, 57) <= release < (5,) and situation.packages.has("autoawq")


# What autoawq's GEMM layers compute with (awq/modules/linear.py, awq/modules/linear/gemm.py).
_COMPUTES_WITH: ByRelease[tuple[str, str]] = ByRelease(
    "autoawq",
    Row("0.1", "0.2.6", ("RuntimeError", ""), Evidence.SOURCE, "autoawq 0.1.8 awq/modules/linear.py:105: a CUDA extension, and nothing else"),
    Row("0.2.6", None, ("ValueError", "Pointer argument (at 0) cannot be accessed from Triton (cpu tensor?)"), Evidence.SOURCE, "autoawq 0.2.9 awq/modules/linear/gemm.py:49"),
)  # fmt: skip


def forward(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """FORWARD: autoawq's layers on the CPU, by the call's own word, beside a GPU that keeps transformers from choosing IPEX."""
    quantization = _awq(draft)
    if quantization is None or not quantization.pre_quantized or not situation.request.asks_for_cpu:
        return
    if situation.packages.at_least("transformers", 5) or str(quantization.config.get("version") or "gemm").lower() == "ipex":
        return
    if not cuda.available(situation) or need(draft.devices) != ("cpu",):
        return
    row = _COMPUTES_WITH.row(situation.packages)
    condition = "triton or autoawq-kernels is installed" if row.value[1] else None
    why = "the device_map puts the model on the CPU, and autoawq's layers compute on a GPU only"
    yield WillRaise("QVL327", Stage.FORWARD, *row.value, "offload", why, condition, row.evidence)


def adapters(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ADAPTERS: peft up to 0.18 imports autoawq wherever it is installed, so the break reaches other models, too (0.13 to 0.18 run)."""
    quantization = need(draft.quantization)
    other = quantization is None or quantization.method == "gptq"  # bitsandbytes layers are found before
    if situation.request.purpose not in ("lora", "qlora") or not other or not _broken(situation):
        return
    release = situation.packages.release("peft") or (0,)
    if (0, 10) <= release < (0, 19):
        why = "peft looks for AWQ layers where autoawq is installed, and autoawq cannot be imported with transformers 4.57"
        yield WillRaise("QVL320", Stage.ADAPTERS, "ImportError", _BREAK, "autoawq-import", why, evidence=Evidence.RUN)


def stored_awq(draft: Draft) -> Quantization | None:
    """The AWQ settings of a checkpoint that comes quantised, None for any other model. Raises Undecided."""
    quantization = _awq(draft)
    return quantization if quantization is not None and quantization.pre_quantized else None


def _awq(draft: Draft) -> Quantization | None:
    quantization = need(draft.quantization)
    return quantization if quantization is not None and quantization.method == "awq" else None
