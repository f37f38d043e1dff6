"""bitsandbytes in transformers: its settings, offload, the class of its layers.

Sources: transformers 4.32 to 4.37 modeling_utils.py; later quantizers/quantizer_bnb_4bit.py and _8bit.py. Recorded: 5.17.0 with 0.50.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.plan import Kernel, Stage, WillRaise
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.stack.bnb_environment import bnb_of
from qvl_preflight.unknown import need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_OFFLOAD = "Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM to fit the quantized model."
# In 4.x a map that is all "cpu" is refused as well; 5.x lets it through.
_ALL_CPU_PASSES = ByRelease(
    "transformers",
    Row("4.32", "5.0", False, Evidence.SOURCE, "transformers 4.57.1 quantizers/quantizer_bnb_4bit.py"),
    Row("5.0", None, True, Evidence.RECORDED, "transformers 5.17.0 quantizers/quantizer_bnb_4bit.py"),
)


def settings(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: what BitsAndBytesConfig itself refuses."""
    quantization = bnb_of(draft)
    if quantization is None or quantization.pre_quantized:
        return
    both = quantization.config.get("load_in_4bit") and quantization.config.get("load_in_8bit")
    if both and situation.packages.at_least("transformers", 4, 38):
        text = "load_in_4bit and load_in_8bit are both True, but only one can be used at the same time"
        yield WillRaise(
            "QVL333", Stage.CONFIG, "ValueError", text, "bits", "4 and 8 bits are asked for at once", evidence=Evidence.RUN
        )
    kind = quantization.config.get("bnb_4bit_quant_type")
    if (
        quantization.config.get("load_in_4bit")
        and isinstance(kind, str)
        and kind not in ("fp4", "nf4")
        and situation.packages.at_least("transformers", 5)
    ):
        text, why = (
            "We encountered some issues during automatic conversion of the weights.",
            f'bnb_4bit_quant_type="{kind}" is neither "nf4" nor "fp4"',
        )
        yield WillRaise("QVL333", Stage.MATERIALISE, "RuntimeError", text, "bnb_4bit_quant_type", why, evidence=Evidence.RECORDED)
    for name in ("bnb_4bit_compute_dtype", "bnb_4bit_quant_storage"):
        value = quantization.config.get(name)
        if isinstance(value, str) and value not in _DTYPE_NAMES:
            text, why = f"module 'torch' has no attribute '{value}'", f'{name}="{value}" is not the name of a torch dtype'
            yield WillRaise("QVL333", Stage.CONFIG, "AttributeError", text, name, why, evidence=Evidence.RUN)


_DTYPE_NAMES = ("float16", "half", "bfloat16", "float32", "float", "float64", "double", "uint8", "int8")


def layers(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """KERNEL: sets ``draft.kernel``; refuses a map that offloads without the flag."""
    quantization = bnb_of(draft)
    if quantization is None:
        return
    draft.kernel = Kernel(
        "modules",
        "Linear8bitLt" if quantization.bits == 8 else "Linear4bit",
        "bitsandbytes",
        ("cuda", "cpu"),
        True,
        "bitsandbytes.nn.modules",
    )
    if situation.request.trains:
        draft.trainable = True
    found = need(draft.device_map)
    if not situation.packages.at_least("transformers", 5):
        # Modules that stay unquantised may go anywhere (4.57.1 quantizer_bnb_4bit.py:120).
        kept = {"lm_head", *(quantization.config.get("llm_int8_skip_modules") or ())}
        found = {name: device for name, device in found.items() if name not in kept}
    homes = set(found.values())
    if quantization.config.get("llm_int8_enable_fp32_cpu_offload") or not homes & {"cpu", "disk"}:
        return
    row = _ALL_CPU_PASSES.row(situation.packages)
    if homes == {"cpu"} and (row.value or not situation.request.device_map):
        return
    why = "part of the model goes to the CPU or the disk, which a quantised layer does not take"
    evidence = Evidence.RECORDED if homes != {"cpu"} else row.evidence
    yield WillRaise("QVL310", Stage.KERNEL, "ValueError", _OFFLOAD, "offload", why, _near(situation, found), evidence)


def _near(situation: Situation, found: Mapping[str, str]) -> str | None:
    """A map that was worked out here is near the real one: a few per cent over the limit may be none there."""
    if situation.request.device_map not in STRATEGIES:
        return None
    away = sum(device in ("cpu", "disk") for device in found.values())
    return None if 10 * away > len(found) else "the map comes out as worked out here"


def trainer_step(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """STEP: 8-bit layers that lie on the CPU, under a Trainer that computes on the GPU."""
    quantization = bnb_of(draft)
    if (
        quantization is None
        or quantization.bits != 8
        or situation.request.trainer is None
        or situation.request.trains_on_cpu
        or not situation.request.trains
    ):
        return
    if need(draft.devices) == ("cpu",) and need(situation.devices).visible and situation.packages.at_least("transformers", 5):
        yield WillRaise(
            "QVL804",
            Stage.STEP,
            "ValueError",
            "Expected a cuda device, but got: cpu",
            "cpu",
            "the 8-bit layers lie on the CPU, and the Trainer computes on the GPU",
            evidence=Evidence.RECORDED,
        )
