"""peft: which quantised layers a release can wrap. Of autoawq's GEMM alone, from 0.9 to 0.18 (tuners/lora/awq.py).

For auto-gptq it works out the class that it expects from the model's configuration, and refuses every other (0.5 to 0.18:
utils/other.py get_auto_gptq_quant_linear; 0.19 on: no auto-gptq at all). gptqmodel's layers are known by their base class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import auto_gptq
from qvl_preflight.stack.gptq import exllama_flags
from qvl_preflight.unknown import Undecided, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Kernel, Quantization, Situation

_REFUSES = ByRelease(
    "peft",
    Row("0.5", "0.6", "Target module QuantLinear() is not supported. Currently, only `torch.nn.Linear` and `Conv1D` are supported.", Evidence.RUN, "peft 0.5.0 tuners/lora.py:481"),
    Row("0.6", "0.11", "Target module QuantLinear() is not supported. Currently, only the following modules are supported: `torch.nn.Linear`, `torch.nn.Embedding`, `torch.nn.Conv2d`, `transformers.pytorch_utils.Conv1D`.", Evidence.RECORDED, "peft 0.8.2 tuners/lora/model.py:257"),
    Row("0.11", None, "Target module QuantLinear() is not supported. Currently, only the following modules are supported: `torch.nn.Linear`, `torch.nn.Embedding`", Evidence.SOURCE, "peft 0.18.1 tuners/lora/model.py:343"),
)  # fmt: skip


def adapters(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ADAPTERS: get_peft_model on layers of auto-gptq and autoawq."""
    quantization = need(draft.quantization)
    if situation.request.purpose not in ("lora", "qlora") or quantization is None:
        return
    if quantization.method == "awq" and quantization.pre_quantized:
        yield from _autoawq(situation, quantization, need(draft.kernel))
    if quantization.backend != "auto-gptq":
        return
    flags, held = exllama_flags(situation, quantization.config), need(draft.kernel)
    expected = _expected(situation, quantization, flags)
    if held is None or (expected is not None and expected.kernel == held):
        return
    row = _REFUSES.row(situation.packages)
    condition = draft.kernel_condition or (expected.condition if expected else None)
    looks_for = "no layer of auto-gptq" if expected is None else f"{expected.kernel.name}"
    why = f"the model holds {held.name} layers, and this peft looks for {looks_for}"
    yield WillRaise("QVL803", Stage.ADAPTERS, "ValueError", row.value, "no-train", why, condition, row.evidence)


def _expected(situation: Situation, quantization: Quantization, flags: auto_gptq.Flags) -> auto_gptq.Chosen | None:
    """The class that peft compares with; None where it takes none."""
    release, config = situation.packages.release("peft"), quantization.config
    if release is None:
        return auto_gptq.choose(situation, flags)  # no adapters can be made here at all: nothing to say about the kernel
    if release >= (0, 19):
        return None
    if release < (0, 6):  # knows no exllama v2: auto-gptq's default keeps it on
        return auto_gptq.pick(situation, flags, not config.get("disable_exllama"), True)
    knows_use_exllama = situation.packages.at_least("transformers", 4, 35)
    version = 1
    if knows_use_exllama and isinstance(given := config.get("exllama_config"), Mapping):
        version = given.get("version", 1)
    on = not flags.disable_exllama
    return auto_gptq.pick(situation, flags, on and version == 1, on and version == 2)


def _autoawq(situation: Situation, quantization: Quantization, held: Kernel | None) -> Iterator[WillRaise]:
    release = situation.packages.release("peft")
    if held is None or held.backend != "autoawq" or release is None:
        return
    if quantization.config.get("do_fuse") or quantization.config.get("modules_to_fuse"):
        raise Undecided("which layers adapters find in a model of fused AWQ modules was not looked up")
    if (0, 9) <= release < (0, 19) and held.class_name in ("WQLinear_GEMM", "WQLinear_IPEX"):
        if not situation.packages.at_least("autoawq", 0, 2):
            text = f"Found an incompatible version of auto-awq. Found version {situation.packages.version('autoawq')}"
            why = "peft takes autoawq from 0.2.0 on"
            yield WillRaise("QVL803", Stage.ADAPTERS, "ImportError", text, "no-train", why, evidence=Evidence.SOURCE)
        return
    looks_for = "none of AWQ" if release < (0, 9) else "those of gptqmodel" if release >= (0, 19) else "WQLinear_GEMM"
    why = f"the model holds layers of the class {held.class_name}, and this peft looks for {looks_for}"
    text = f"Target module {held.class_name}("
    yield WillRaise("QVL803", Stage.ADAPTERS, "ValueError", text, "no-train", why, evidence=Evidence.SOURCE)
