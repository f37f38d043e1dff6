"""The dtype that a quantisation method makes of the one that is asked for, and those that it refuses.

Source: transformers 4.35 to 4.37 modeling_utils.py; 4.38 to 5.23 quantizers/quantizer_*.py update_torch_dtype, later update_dtype. GPTQ and
bitsandbytes: stack/transformers.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import cuda
from qvl_preflight.stack.transformers import RENAMES_TORCH_DTYPE, asked_dtype
from qvl_preflight.unknown import need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

# Where nothing is asked, up to 4.57; transformers 5 takes the checkpoint's.
_FILLED_IN: Mapping[str, str] = {
    "awq": "float16", "eetq": "float16", "compressed-tensors": "float16", "higgs": "float16", "spqr": "float16", "fbgemm_fp8": "bfloat16",
    "fp_quant": "bfloat16", "mxfp4": "bfloat16", "auto-round": "bfloat16",
}  # fmt: skip
_HALF_ON_A_GPU = ("aqlm", "vptq")
# Is what update_dtype answers used? 5.0 to 5.4 call it and go on with what they had.
_IS_USED: ByRelease[bool] = ByRelease(
    "transformers",
    Row("4.35", "5.0", True, Evidence.SOURCE, "transformers 4.57.1 quantizers/auto.py:326"),
    Row("5.0", "5.3", False, Evidence.SOURCE, "transformers 5.0.0, 5.2.0 modeling_utils.py:813"),
    Row("5.5", None, True, Evidence.SOURCE, "transformers 5.5.0, 5.23.0 modeling_utils.py:883"),
)


@dataclass(frozen=True)
class _Refusal:
    """What a method takes, from a release on, up to another, and its words for all else; {key} is dtype or torch_dtype."""

    since: tuple[int, ...]
    until: tuple[int, ...]
    takes: tuple[str, ...]
    text: str


_REFUSALS: Mapping[str, _Refusal] = {
    "fbgemm_fp8": _Refusal((4, 43), (5,), ("bfloat16", "float32"), "You cannot use FP8 with {key}=torch.float16."),
    "fp_quant": _Refusal((4, 54), (5,), ("bfloat16",), "Invalid `{key}` torch.{dtype}. fp_quant quantization only supports"),
    "higgs": _Refusal((4, 48), (99,), ("float16", "bfloat16"), "Invalid `{key}` torch.{dtype}. HIGGS quantization only supports"),
    "spqr": _Refusal((4, 49), (99,), ("float16",), "You cannot use any type other than torch.float16 for SpQR."),
}


def dtype_of_method(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """DTYPE: sets ``draft.dtype`` again where the method changes it."""
    quantization = need(draft.quantization)
    if quantization is None or quantization.config.get("dequantize") is True or draft.failed("dtype"):
        return
    method, asked = quantization.method, asked_dtype(situation)
    five = situation.packages.at_least("transformers", 5)
    if asked is None and not five:
        if method in _HALF_ON_A_GPU:
            draft.dtype = "float16" if cuda.available(situation) else "float32"
        draft.dtype = _FILLED_IN.get(method, draft.dtype)
        return
    if asked == "auto" and not five:
        return  # the method is asked before the word is looked up
    found, release = need(draft.dtype), situation.packages.release("transformers") or (0,)
    refusal = _REFUSALS.get(method)
    if refusal and refusal.since <= release < refusal.until and found not in refusal.takes:
        key = "dtype" if release >= RENAMES_TORCH_DTYPE else "torch_dtype"
        why = f"{method} layers compute in {' or '.join(refusal.takes[:2])}, and the model would be loaded in {found}"
        text = refusal.text.format(key=key, dtype=found)
        yield WillRaise("QVL328", Stage.DTYPE, "ValueError", text, "method-dtype", why, evidence=Evidence.SOURCE)
        return
    cast = _cast(situation, method, found)
    if cast != found:
        used = _IS_USED.value(situation.packages)
        draft.dtype = cast if used else found


def _cast(situation: Situation, method: str, found: str) -> str:
    if method == "awq" and found == "bfloat16" and situation.packages.at_least("transformers", 4, 53):
        return "float16" if cuda.available(situation) else found
    if method in ("fbgemm_fp8", "fp_quant") and situation.packages.at_least("transformers", 5):
        return "bfloat16"
    return found


def takes(method: str) -> str | None:
    """A dtype that a method takes, where it refuses others."""
    refusal = _REFUSALS.get(method)
    return refusal.takes[0] if refusal else None
