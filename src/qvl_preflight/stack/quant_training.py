"""What becomes of a quantised checkpoint that this machine cannot run as it is, and which methods a Trainer takes.

Sources: transformers 4.38 to 5.23 quantizers/quantizer_*.py is_trainable, trainer.py; quantizer_finegrained_fp8.py, quantizer_mxfp4.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Quantization, Stage, WillRaise
from qvl_preflight.stack import cuda
from qvl_preflight.stack.quant_checks import current_capability
from qvl_preflight.unknown import Undecided, need
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


# Methods whose answer hangs on the release alone; the others ask their settings, or their package.
_TRAINABLE: Mapping[str, ByRelease[bool]] = {
    **dict.fromkeys(("auto-round", "fbgemm_fp8", "mxfp4", "gguf", "higgs", "metal", "nvfp4", "quark", "spqr", "vptq", "gemma"), _NEVER),
    "quanto": _since("4.46", "transformers 4.46.3 quantizers/quantizer_quanto.py"),
    "compressed-tensors": _since("4.47", "transformers 4.47.1 quantizers/quantizer_compressed_tensors.py"),
    "fp8": ByRelease(
        "transformers",
        Row("4.49", "5.17", False, Evidence.SOURCE, "transformers 5.10.0 quantizers/quantizer_finegrained_fp8.py"),
        Row("5.17", "5.18", False, Evidence.RECORDED, "transformers 5.17.0 on an H100"),
        Row("5.18", "5.21", False, Evidence.SOURCE, "transformers 5.20.2 quantizers/quantizer_finegrained_fp8.py"),
        Row("5.23", None, True, Evidence.SOURCE, "transformers 5.23.0 quantizers/quantizer_finegrained_fp8.py"),
    ),
}  # fmt: skip


def _torchao(situation: Situation, settings: Mapping[str, Any]) -> bool:
    """Eight-bit weights alone: by the name of the type, or from 5.5 on of its class."""
    kind = settings.get("quant_type")
    if not situation.packages.at_least("transformers", 5, 5):
        return kind in ("int8_weight_only", "int8_dynamic_activation_int8_weight")
    stored = kind.get("default", kind) if isinstance(kind, Mapping) else kind
    name = stored.get("_type") if isinstance(stored, Mapping) else getattr(stored, "class_name", None)
    if not isinstance(name, str):
        raise Undecided("which type torchao quantises to is not known")
    found = re.search(r"(\d)weight", name.lower())
    return found is not None and found.group(1) == "8"


def _bitnet(situation: Situation, settings: Mapping[str, Any]) -> bool:
    asked = settings.get("linear_class") == "autobitlinear" and settings.get("quantization_mode") == "online"
    return asked and situation.packages.at_least("transformers", 4, 52)


# is_trainable of transformers 4.38.2 to 5.23.0.
_ASKS: Mapping[str, Callable[[Situation, Mapping[str, Any]], bool]] = {
    "aqlm": lambda situation, settings: (
        situation.packages.at_least("transformers", 4, 39) and situation.packages.at_least("aqlm", 1, 0, 2)
    ),
    "awq": lambda situation, settings: (
        situation.packages.at_least("gptqmodel", 5)
        if situation.packages.at_least("transformers", 5)
        else situation.packages.at_least("autoawq", 0, 2)
    ),
    "bitnet": _bitnet,
    "fouroversix": lambda situation, settings: settings.get("keep_master_weights") is True,
    "fp_quant": lambda situation, settings: (
        settings.get("store_master_weights") is True and situation.packages.at_least("transformers", 4, 57)
    ),
    "torchao": _torchao,
}


def _takes(situation: Situation, quantization: Quantization) -> tuple[bool, Evidence] | None:
    """Does this release train on the method, and how is it known? None where it was not looked up. Raises Undecided."""
    if quantization.method in _TRAINABLE:
        row = _TRAINABLE[quantization.method].row(situation.packages)
        return row.value, row.evidence
    if quantization.method in _ASKS and situation.packages.at_least("transformers", 4, 38):
        return _ASKS[quantization.method](situation, quantization.config), Evidence.SOURCE
    return None


def trainable(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: adapters on a method that says it does not support training. A person's own loop is not asked."""
    quantization, request = need(draft.quantization), situation.request
    if quantization is None or request.trainer is None or request.purpose not in ("lora", "qlora"):
        return
    takes = _takes(situation, quantization)
    if takes is None or takes[0] or quantization.config.get("dequantize") is True or draft.failed("no-train"):
        return
    if dequantized(situation, draft):
        return  # a plain model by then (run: mxfp4 and fp8 on 5.20.2 and 5.23.0)
    text, method = "The model you are trying to fine-tune is quantized with ", quantization.method
    why = f"transformers does not train models that are quantised with {method} like this, adapters or not"
    yield WillRaise("QVL319", Stage.TRAINER, "ValueError", text, "method-trainable", why, evidence=takes[1])


# Layers over which adapters were seen to train, on a CPU with these releases. A stored FP8 or MXFP4 that is dequantised is a plain model.
_SEEN: Mapping[str, str] = {"quanto": "transformers 5.23.0, peft 0.21.2", "hqq": "transformers 4.57.1, peft 0.18.0"}


def adapters_on_layers(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ADAPTERS: sets ``draft.trainable`` for methods other than GPTQ, AWQ and bitsandbytes. Raises Undecided where nobody looked."""
    quantization = need(draft.quantization)
    if situation.request.purpose not in ("lora", "qlora") or quantization is None or quantization.method in _WITH_KERNELS:
        return
    method = quantization.method
    if quantization.config.get("dequantize") is True or dequantized(situation, draft) or method in _SEEN:
        draft.trainable = True
    elif method == "torchao":
        draft.trainable = _torchao_trains(quantization.config)
    elif method == "bitnet":
        why = "peft knows no layer of the class BitLinear"
        text = "Target module BitLinear() is not supported. Currently, only the following modules are supported"
        yield WillRaise(
            "QVL803", Stage.ADAPTERS, "ValueError", text, "no-train", why, evidence=_BITNET.row(situation.packages).evidence
        )
    else:
        raise Undecided(f"whether adapters on layers of {method} train was not tried")


_WITH_KERNELS = ("gptq", "awq", "bitsandbytes")
_BITNET = ByRelease(
    "transformers",
    Row("4.46", "5.0", True, Evidence.SOURCE, "transformers 4.57.1 integrations/bitnet.py BitLinear"),
    Row("5.0", None, True, Evidence.RUN, "transformers 5.23.0 with peft 0.21.2"),
)


def _torchao_trains(settings: Mapping[str, Any]) -> bool:
    """Weights alone, of 8 bits, whole numbers or floats (run: torchao 0.18.0)."""
    kind = settings.get("quant_type")
    stored = kind.get("default", kind) if isinstance(kind, Mapping) else kind
    name = stored.get("_type") if isinstance(stored, Mapping) else getattr(stored, "class_name", stored)
    if name in ("Int8WeightOnlyConfig", "Float8WeightOnlyConfig", "int8_weight_only", "float8_weight_only"):
        return True
    raise Undecided(f"whether adapters on torchao's {name} train was not tried")
