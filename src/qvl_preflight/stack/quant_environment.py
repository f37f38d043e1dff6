"""What the quantizer of a method refuses before anything is loaded; the tables: quant_tables.py. GPTQ, AWQ and bitsandbytes have their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.quant_checks import first_refusal
from qvl_preflight.stack.quant_tables import CALIBRATED, CHECKS
from qvl_preflight.unknown import need
from qvl_preflight.versions import Evidence

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation


def environment(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ENVIRONMENT: what the quantizer of this method refuses."""
    quantization = need(draft.quantization)
    if quantization is None or quantization.method not in CHECKS:
        return
    if quantization.config.get("dequantize") is True:
        return  # a plain load, and the checks above are skipped
    yield from first_refusal(CHECKS[quantization.method].value(situation.packages), situation, quantization)


def calibrated(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: a method that needs a quantised checkpoint, and a plain one."""
    quantization = need(draft.quantization)
    if quantization is None or quantization.pre_quantized or quantization.method not in CALIBRATED:
        return
    if not situation.packages.at_least("transformers", 4, 38):
        return  # stack/awq.py
    if quantization.method in ("compressed-tensors", "quark") and list(environment(situation, draft)):
        return  # their configuration asks for the package first
    why = f"{quantization.method} needs a checkpoint that was quantised with it, and this one is plain"
    yield WillRaise("QVL321", Stage.CONFIG, "ValueError", "The quantization method ", "calibration", why, evidence=Evidence.RUN)


# transformers 5 quantises through get_quantize_ops, which these methods do not have (yet).
_NOT_PORTED = {"hqq": Evidence.RUN, "higgs": Evidence.SOURCE}


def not_ported(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: a method whose quantising transformers 5 announces and does not have."""
    quantization = need(draft.quantization)
    if quantization is None or quantization.pre_quantized or quantization.method not in _NOT_PORTED:
        return
    if situation.packages.at_least("transformers", 5):
        why = (
            f"transformers 5 loads {quantization.method} checkpoints, and cannot quantise with {quantization.method} while it loads"
        )
        evidence = _NOT_PORTED[quantization.method]
        yield WillRaise("QVL322", Stage.MATERIALISE, "NotImplementedError", "", "not-ported", why, evidence=evidence, at=_SOON)


_SOON = "is not available yet and will be supported soon."
