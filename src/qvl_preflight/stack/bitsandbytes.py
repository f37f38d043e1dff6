"""bitsandbytes in transformers: its settings, offload, the class of its layers.

Sources: transformers 4.32 to 4.37 modeling_utils.py; later quantizers/quantizer_bnb_4bit.py and _8bit.py. Recorded: 5.17.0 with 0.50.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Kernel, Stage, WillRaise
from qvl_preflight.request import ConfigObject, LiveObject, device_name, show
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.stack.bnb_environment import bnb_of
from qvl_preflight.unknown import need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Quantization, Situation

_OFFLOAD = "Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM to fit the quantized model."
# In 4.x a map that is all "cpu" is refused as well; 5.x lets it through.
_ALL_CPU_PASSES = ByRelease(
    "transformers",
    Row("4.32", "4.45", False, Evidence.SOURCE, "transformers 4.44.2 quantizers/quantizer_bnb_4bit.py"),
    Row(
        "4.45",
        "5.0",
        True,
        Evidence.RUN,
        "transformers 4.45.2, 4.57.1 quantizers/quantizer_bnb_4bit.py: where bitsandbytes takes all devices",
    ),
    Row("5.0", None, True, Evidence.RECORDED, "transformers 5.17.0 quantizers/quantizer_bnb_4bit.py"),
)


def both_widths(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: 4 and 8 bits at once. The configuration is made of the flags before anything else is looked at (4.57.1 modeling_utils.py:4820)."""
    passed, kwargs = situation.request.kwargs.get("quantization_config"), situation.request.kwargs
    asked = (
        kwargs
        if passed is None
        else passed.fields
        if isinstance(passed, ConfigObject)
        else passed
        if isinstance(passed, Mapping)
        else {}
    )
    if passed is not None or not situation.packages.at_least("transformers", 5):
        yield from both(situation, asked)


def both(situation: Situation, asked: Mapping[str, Any]) -> Iterator[WillRaise]:
    """Both widths at once, from 4.38 on."""
    if asked.get("load_in_4bit") and asked.get("load_in_8bit") and situation.packages.at_least("transformers", 4, 38):
        text = "load_in_4bit and load_in_8bit are both True, but only one can be used at the same time"
        yield _refused("ValueError", text, "bits", "4 and 8 bits are asked for at once")


def made(situation: Situation, fields: Mapping[str, Any]) -> Iterator[WillRaise]:
    """What BitsAndBytesConfig refuses where it is made of these: both widths, then the names of dtypes, then types, then the package (up to 4.57)."""
    yield from both(situation, fields)
    yield from refused_settings(situation, fields)
    if (
        fields.get("load_in_4bit")
        and not situation.packages.at_least("transformers", 5)
        and not situation.packages.has("bitsandbytes")
    ):
        why = "a BitsAndBytesConfig of 4 bits looks up the release of bitsandbytes, which is not installed"
        text = "No package metadata was found for bitsandbytes"
        yield WillRaise("QVL309", Stage.ARGUMENTS, "PackageNotFoundError", text, "bitsandbytes", why, evidence=Evidence.RUN)


def settings(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: what BitsAndBytesConfig itself refuses, made of flags or a dict."""
    quantization = bnb_of(draft)
    if quantization is not None and not quantization.pre_quantized:
        yield from refused_settings(situation, quantization.config)


def refused_settings(situation: Situation, config: Mapping[str, Any]) -> Iterator[WillRaise]:
    """The first setting that is refused."""
    for name in ("bnb_4bit_compute_dtype", "bnb_4bit_quant_storage"):
        value = config.get(name)
        if isinstance(value, str):
            yield from _dtype_name(situation, name, value)
    yield from _types(situation, config)


def quant_type(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: the first weight that is quantised to a type that there is not."""
    quantization = bnb_of(draft)
    kind = None if quantization is None or quantization.pre_quantized else quantization.config.get("bnb_4bit_quant_type")
    if quantization is None or not quantization.config.get("load_in_4bit") or not isinstance(kind, str) or kind in ("fp4", "nf4"):
        return
    row = _QUANT_TYPE.row(situation.packages)
    why = f'bnb_4bit_quant_type="{kind}" is neither "nf4" nor "fp4"'
    yield WillRaise("QVL333", Stage.MATERIALISE, *row.value, "bnb_4bit_quant_type", why, evidence=row.evidence)


def _refused(type_: str, text: str, cause: str, why: str) -> WillRaise:
    return WillRaise("QVL333", Stage.CONFIG, type_, text, cause, why, evidence=Evidence.RUN)


# Met on 5.17.0 and 4.57.1; earlier releases leave the question to bitsandbytes, whose words were not looked up.
_QUANT_TYPE: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.32", "4.57", ("NotImplementedError", ""), Evidence.SOURCE, "bitsandbytes 0.42.0 functional.py quantize_4bit"),
    Row("4.57", "5.0", ("ValueError", ""), Evidence.RUN, "transformers 4.57.1 with bitsandbytes 0.50.2"),
    Row("5.0", None, ("RuntimeError", "We encountered some issues during automatic conversion of the weights."), Evidence.RECORDED, "transformers 5.17.0"),
)  # fmt: skip
# BitsAndBytesConfig.post_init; ValueError up to 4.42 (run: 4.36.2, 4.37.2, 4.40.2), TypeError later (run: 4.45.2 to 5.23.0).
_WANTED: tuple[tuple[str, type, str], ...] = (
    ("load_in_4bit", bool, "a boolean"), ("load_in_8bit", bool, "a boolean"), ("llm_int8_threshold", float, "a float"),
    ("llm_int8_skip_modules", list, "a list of strings"), ("llm_int8_enable_fp32_cpu_offload", bool, "a boolean"),
    ("llm_int8_has_fp16_weight", bool, "a boolean"), ("bnb_4bit_quant_type", str, "a string"), ("bnb_4bit_use_double_quant", bool, "a boolean"),
)  # fmt: skip


def _types(situation: Situation, config: Mapping[str, Any]) -> Iterator[WillRaise]:
    """The first setting of another type than the one that is asked for. The two flags are looked at from 4.40 on."""
    for name, wanted, words in _WANTED:
        value = config.get(name)
        if value is None or type(value) is wanted or isinstance(value, LiveObject):
            continue
        if name.startswith("load_in") and not situation.packages.at_least("transformers", 4, 40):
            continue
        type_ = "TypeError" if situation.packages.at_least("transformers", 4, 43) else "ValueError"
        yield _refused(type_, f"{name} must be {words}", f"{name}-type", f"{name}={show(value)} is not {words}")
        return


def _dtype_name(situation: Situation, name: str, value: str) -> Iterator[WillRaise]:
    if name == "bnb_4bit_quant_storage" and situation.packages.at_least("transformers", 4, 42):
        if value not in _STORAGE:
            text = "`bnb_4bit_quant_storage` must be a valid string (one of "
            yield _refused("ValueError", text, name, f'{name}="{value}" is none of {", ".join(_STORAGE)}')
    elif value not in _DTYPE_NAMES and (name == "bnb_4bit_compute_dtype" or situation.packages.at_least("transformers", 4, 39)):
        text, why = f"module 'torch' has no attribute '{value}'", f'{name}="{value}" is not the name of a torch dtype'
        yield _refused("AttributeError", text, name, why)


_STORAGE = ("float16", "float32", "int8", "uint8", "float64", "bfloat16")
_DTYPE_NAMES = ("float16", "half", "bfloat16", "float32", "float", "float64", "double", "uint8", "int8", "int16", "int32", "int64")


_FOUR_BITS_AUTO = "You are using `device_map='auto'` on a 4bit loaded version of the model."


def counted_by_accelerate(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """DEVICE_MAP: a strategy counts 4-bit weights by a type that accelerate has since 0.20 (transformers 4.30.2 modeling_utils.py:2764, 4.33.3).

    Later releases of transformers take no accelerate that old.
    """
    quantization = bnb_of(draft)
    if quantization is None or quantization.bits != 4 or situation.request.device_map not in STRATEGIES:
        return
    release, accelerate = situation.packages.release("transformers") or (0,), situation.packages.release("accelerate")
    if (4, 30) <= release < (4, 34) and accelerate is not None and accelerate < (0, 20):
        why = "accelerate before 0.20 cannot count 4-bit weights, which a strategy needs"
        yield WillRaise("QVL337", Stage.DEVICE_MAP, "ValueError", _FOUR_BITS_AUTO, "device-map", why, evidence=Evidence.SOURCE)


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
    if (
        quantization.config.get("llm_int8_enable_fp32_cpu_offload")
        and set(found.values()) == {"cpu"}
        and situation.request.device_map not in STRATEGIES
        and situation.packages.at_least("transformers", 5)
    ):
        # What the map puts on the CPU is left as it is (5.23.0 quantizer_bnb_4bit.py; run); "auto" is worked out after that.
        draft.kernel = None
    yield from _away(situation, quantization, found)


def offloaded(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ENVIRONMENT: the same for a map that is given: it is looked at before the class is made (4.38 on: quantizers' validate_environment)."""
    quantization, given = bnb_of(draft), situation.request.device_map
    if quantization is not None and isinstance(given, Mapping) and situation.packages.at_least("transformers", 4, 38):
        yield from _away(situation, quantization, {str(name): device_name(value) or "" for name, value in given.items()})


def _away(situation: Situation, quantization: Quantization, found: Mapping[str, str]) -> Iterator[WillRaise]:
    """What the map leaves to the CPU or the disk."""
    whole = found
    if not situation.packages.at_least("transformers", 5):
        # Modules that stay unquantised may go anywhere (4.57.1 quantizer_bnb_4bit.py:120).
        kept = {"lm_head", *(quantization.config.get("llm_int8_skip_modules") or ())}
        found = {name: device for name, device in found.items() if name not in kept}
    homes = set(found.values())
    if quantization.config.get("llm_int8_enable_fp32_cpu_offload") or not homes & {"cpu", "disk"}:
        return
    row = _ALL_CPU_PASSES.row(situation.packages)
    if set(whole.values()) == {"cpu"} and (row.value or not situation.request.device_map):
        if len(whole) > 1 and not situation.packages.at_least("transformers", 5):
            text = "If you want to offload some keys to `cpu` or `disk`, you need to set `llm_int8_enable_fp32_cpu_offload=True`."
            why = "the map names more than one part and puts all of them on the CPU"
            yield WillRaise("QVL310", Stage.KERNEL, "ValueError", text, "offload", why, evidence=Evidence.RUN)
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
