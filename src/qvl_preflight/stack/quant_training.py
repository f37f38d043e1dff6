"""What becomes of a quantised checkpoint that this machine cannot run as it is, and which methods a Trainer takes.

Sources: transformers 4.38 to 5.23 quantizers/quantizer_*.py is_trainable, trainer.py; quantizer_finegrained_fp8.py, quantizer_mxfp4.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.plan import Quantization, Stage, WillRaise
from qvl_preflight.stack import cuda
from qvl_preflight.stack.quant_checks import current_capability
from qvl_preflight.unknown import need
from qvl_preflight.versions import ByRelease, Evidence, Row, parse

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, LoadPlan, Situation

# quantizer_mxfp4.py asks for triton and kernels in these releases; up to 5.5 for a GPU as well.
_KERNELS: ByRelease[tuple[str, str | None]] = ByRelease(
    "transformers",
    Row("4.55", "5.0", ("0", None), Evidence.SOURCE, "transformers 4.57.1 utils/import_utils.py is_kernels_available"),
    Row("5.0", "5.1", ("0.9.0", None), Evidence.SOURCE, "transformers 5.0.0 utils/import_utils.py KERNELS_MIN_VERSION"),
    Row("5.17", "5.18", ("0.16.0", "0.17.0"), Evidence.SOURCE, "transformers 5.17.0 utils/import_utils.py KERNELS_MIN_VERSION"),
    Row("5.23", None, ("0.18.2", "0.19.0"), Evidence.SOURCE, "transformers 5.23.0 utils/import_utils.py KERNELS_MIN_VERSION"),
)


def dequantized(situation: Situation, plan: LoadPlan | Draft) -> str | None:
    """Why a stored FP8 or MXFP4 checkpoint becomes a bfloat16 model here, None where it does not. Raises Undecided."""
    quantization = need(plan.quantization)
    if quantization is None or not quantization.pre_quantized or quantization.config.get("dequantize") is True:
        return None
    if quantization.method in ("fp8", "mxfp8") and situation.packages.at_least("transformers", 5):
        return _below(situation, (8, 9), quantization)
    if quantization.method == "mxfp4":
        return _mxfp4(situation, quantization)
    return None


def _below(situation: Situation, lowest: tuple[int, int], quantization: Quantization) -> str | None:
    if not cuda.available(situation):
        return f"{quantization.method} layers need a GPU, and this process has none"
    found = current_capability(situation)
    if found is None or found >= lowest:
        return None
    return f"{quantization.method} layers need a GPU of compute capability {lowest[0]}.{lowest[1]}, and this one has {found[0]}.{found[1]}"


def _mxfp4(situation: Situation, quantization: Quantization) -> str | None:
    has_cuda = cuda.available(situation)
    if (has_cuda or not situation.packages.at_least("transformers", 5, 5)) and (why := _below(situation, (7, 5), quantization)):
        return why
    oldest = (3, 4) if has_cuda else (3, 5)
    triton, kernels = situation.packages.release("triton"), situation.packages.release("kernels")
    if triton is None or triton < oldest:
        return f"mxfp4 layers need triton from {'.'.join(map(str, oldest))} on"
    if kernels is None:
        return "mxfp4 layers need the package kernels, which is not installed"
    low, high = _KERNELS.value(situation.packages)
    if kernels < (parse(low) or ()) or (high and kernels >= (parse(high) or ())):
        return f"mxfp4 layers need kernels from {low} on" + (f", before {high}" if high else "")
    return None


_NEVER = ByRelease("transformers", Row("4.38", None, False, Evidence.SOURCE, "transformers 4.38.2 to 5.23.0 is_trainable"))


def _since(release: str, source: str) -> ByRelease[bool]:
    return ByRelease(
        "transformers", Row("4.38", release, False, Evidence.SOURCE, source), Row(release, None, True, Evidence.SOURCE, source)
    )


# Methods whose answer hangs on the release alone; the others (aqlm, torchao, bitnet, fp_quant …) ask their settings.
_TRAINABLE: Mapping[str, ByRelease[bool]] = {
    **dict.fromkeys(("auto-round", "fbgemm_fp8", "mxfp4", "gguf", "higgs", "metal", "nvfp4", "quark", "spqr", "vptq", "gemma"), _NEVER),
    "quanto": _since("4.46", "transformers 4.46.3 quantizers/quantizer_quanto.py"),
    "compressed-tensors": _since("4.47", "transformers 4.47.1 quantizers/quantizer_compressed_tensors.py"),
    "fp8": ByRelease(
        "transformers",
        Row("4.49", "5.21", False, Evidence.SOURCE, "transformers 5.20.2 quantizers/quantizer_finegrained_fp8.py"),
        Row("5.23", None, True, Evidence.SOURCE, "transformers 5.23.0 quantizers/quantizer_finegrained_fp8.py"),
    ),
}  # fmt: skip


def trainable(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: adapters on a method that says it does not support training. A person's own loop is not asked."""
    quantization, request = need(draft.quantization), situation.request
    if quantization is None or request.trainer is None or request.purpose not in ("lora", "qlora"):
        return
    table = _TRAINABLE.get(quantization.method)
    if table is None or quantization.config.get("dequantize") is True or table.value(situation.packages):
        return
    method = quantization.method
    if dequantized(situation, draft):
        return  # a plain model by then (run: mxfp4 and fp8 on 5.20.2 and 5.23.0)
    text = "The model you are trying to fine-tune is quantized with "
    why = f"transformers does not train models that are quantised with {method}, adapters or not"
    yield WillRaise(
        "QVL319", Stage.TRAINER, "ValueError", text, "method-trainable", why, evidence=table.row(situation.packages).evidence
    )
