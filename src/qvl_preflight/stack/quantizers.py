"""transformers' choice of a quantizer: the checkpoint's quantization_config, the one that is passed, and what they make together.

Source: transformers 4.32 to 4.37 modeling_utils.py from_pretrained; 4.38 on: quantizers/auto.py merge_quantization_configs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qvl_preflight.plain_names import QUANTIZATION_CONFIGS
from qvl_preflight.plan import Quantization, Stage, WillRaise
from qvl_preflight.request import ConfigObject, LiveObject, show
from qvl_preflight.stack import loading_attributes, quant_methods
from qvl_preflight.stack.auto_classes import by_auto_class
from qvl_preflight.stack.cuda import available
from qvl_preflight.stack.quant_arguments import bit_flags, takes_flags
from qvl_preflight.stack.quant_checks import BNB_AND_ACCELERATE, NO_GPU
from qvl_preflight.unknown import Undecided
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

# AUTO_QUANTIZATION_CONFIG_MAPPING, quantizers/auto.py of 4.37.2 to 5.23.0. A class that is not here is compared with nothing.
CLASS_OF = {
    "gptq": "GPTQConfig", "awq": "AwqConfig", "bitsandbytes": "BitsAndBytesConfig", "fp8": "FineGrainedFP8Config", "fbgemm_fp8": "FbgemmFp8Config",
    "hqq": "HqqConfig", "compressed-tensors": "CompressedTensorsConfig", "mxfp4": "Mxfp4Config", "torchao": "TorchAoConfig", "eetq": "EetqConfig",
    "aqlm": "AqlmConfig", "quanto": "QuantoConfig", "higgs": "HiggsConfig", "vptq": "VptqConfig", "spqr": "SpQRConfig", "bitnet": "BitNetQuantConfig",
    "quark": "QuarkConfig", "fp_quant": "FPQuantConfig", "sinq": "SinqConfig", "metal": "MetalConfig",
}  # fmt: skip
# These read loading attributes off whatever is passed (4.38 to 4.55); the others ignore it with a warning.
_READ_LOADING_ATTRIBUTES = ("gptq", "awq", "fbgemm_fp8", "compressed-tensors")
METHOD_OF = {name: method for method, name in CLASS_OF.items()}


@dataclass(frozen=True)
class _Words:
    """The exception for a configuration of another kind than the checkpoint's."""

    type: str
    text: str  # {passed}: the class that was passed; {ours}: the checkpoint's


_OTHER_CLASS: ByRelease[_Words] = ByRelease(
    "transformers",
    Row("4.32", "4.36", _Words("AttributeError", "'{passed}' object has no attribute 'get_loading_attributes'"), Evidence.RUN, "transformers 4.32.0 modeling_utils.py:2475"),
    Row("4.36", "4.38", _Words("ValueError", "The model is already quantized with {method}. You can't quantize it again with "), Evidence.RUN, "transformers 4.37.2 modeling_utils.py:3124"),
    Row("4.38", "4.56", _Words("AttributeError", "'{passed}' object has no attribute 'get_loading_attributes'"), Evidence.RUN, "transformers 4.51.3 quantizers/auto.py"),
    Row("4.56", None, _Words("ValueError", "The model is quantized with {ours} but you are passing a {passed} config. Please make sure to pass the same quantization config class to `from_pretrained`"), Evidence.RECORDED, "transformers 5.23.0 quantizers/auto.py"),
)  # fmt: skip
_DICT: ByRelease[_Words] = ByRelease(
    "transformers",
    Row("4.32", "4.38", _Words("AttributeError", "'dict' object has no attribute 'load_in_8bit'"), Evidence.RUN, "transformers 4.37.2 modeling_utils.py:3015"),
    Row("4.38", "4.56", _Words("AttributeError", "'dict' object has no attribute 'get_loading_attributes'"), Evidence.SOURCE, "transformers 4.45.2 quantizers/auto.py"),
    Row("4.56", None, _Words("ValueError", "The model is quantized with {ours} but you are passing a dict config. Please make sure to pass the same quantization config class to `from_pretrained`"), Evidence.RECORDED, "transformers 5.23.0 quantizers/auto.py"),
)  # fmt: skip


# quantization_config=None reaches AutoConfig, which puts it in the place of the stored settings and then writes them out.
_NONE: ByRelease[str | None] = ByRelease(
    "transformers",
    Row("4.32", "4.35", "'NoneType' object has no attribute 'to_dict'", Evidence.SOURCE, "transformers 4.32.0 configuration_utils.py:888"),
    Row("4.35", "5.0", "'NoneType' object has no attribute 'to_dict'", Evidence.RUN, "transformers 4.35.2, 4.37.2, 4.57.1 configuration_utils.py"),
    Row("5.0", None, None, Evidence.RUN, "transformers 5.23.0 configuration_utils.py:1299"),
)  # fmt: skip


def none_passed(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: None for the settings of a checkpoint that has some, by an Auto class."""
    kwargs, checkpoint = situation.request.kwargs, situation.checkpoint
    given = kwargs.get("quantization_config", checkpoint) is None and "quantization_config" in checkpoint.config
    if not given or kwargs.get("config") is not None or not by_auto_class(situation):
        return
    row = _NONE.row(situation.packages)
    if row.value is not None:
        why = "quantization_config=None takes the place of the checkpoint's own settings, and this release cannot write None out"
        yield WillRaise("QVL323", Stage.CONFIG, "AttributeError", row.value, "config-object", why, evidence=row.evidence)


# What cannot become a configuration: a string, and up to 4.37 a dict.
_NOT_A_CONFIG: ByRelease[str] = ByRelease(
    "transformers",
    Row("4.32", "4.38", "load_in_8bit", Evidence.RUN, "transformers 4.36.2, 4.37.2 modeling_utils.py:3015"),
    Row("4.38", None, "quant_method", Evidence.RUN, "transformers 4.45.2, 4.51.3, 4.57.1, 5.23.0 quantizers/auto.py"),
)


def malformed(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: a quantization_config that is no configuration object, for a plain checkpoint."""
    passed = situation.request.kwargs.get("quantization_config")
    if (
        isinstance(passed, ConfigObject)
        and passed.class_name == "BitNetConfig"
        and situation.packages.at_least("transformers", 4, 52)
    ):
        yield _of_a_model(situation)  # BitNetQuantConfig since then
    if isinstance(passed, ConfigObject) or _stored_method(situation) is not None:
        return
    row = _NOT_A_CONFIG.row(situation.packages)
    if isinstance(passed, (bool, int, float, list, tuple)):
        text = f"'{type(passed).__name__}' object has no attribute '{row.value}'"
        why = f"quantization_config={show(passed)} is no configuration"
        yield WillRaise("QVL323", Stage.CONFIG, "AttributeError", text, "config-object", why, evidence=row.evidence)
    if isinstance(passed, LiveObject) and passed.class_name.startswith("type "):
        text = " ".join(
            ("type object", f"'{passed.class_name[5:]}'", "has no attribute", f"'{row.value}'")
        )  # Python's own words: no symptom
        why = f"quantization_config={passed.class_name[5:]} is the class itself, and an object of it is expected: {passed.class_name[5:]}(…)"
        yield WillRaise("QVL323", Stage.CONFIG, "AttributeError", text, "config-object", why, evidence=row.evidence)
    if not isinstance(passed, (str, Mapping)):
        return
    old = row.value == "load_in_8bit"
    if isinstance(passed, str) or old:
        kind = "str" if isinstance(passed, str) else "dict"
        text = f"'{kind}' object has no attribute '{row.value}'"
        why = f"quantization_config is a {'string' if kind == 'str' else 'dict'}, and this release takes a configuration object"
        yield WillRaise("QVL323", Stage.CONFIG, "AttributeError", text, "config-object", why, evidence=row.evidence)
        return
    if passed.get("load_in_4bit") or passed.get("load_in_8bit"):
        return
    method = str(passed.get("quant_method") or "")
    if not method:
        text = "The model's quantization config from the arguments has no `quant_method` attribute."
        why = "quantization_config is a dict that names neither quant_method nor load_in_4bit nor load_in_8bit"
        yield WillRaise("QVL323", Stage.CONFIG, "ValueError", text, "config-object", why, evidence=row.evidence)
    elif not quant_methods.knows(situation.packages, method):
        why = f'quantization_config names the method "{method}", which this transformers does not know'
        text = f"Unknown quantization type, got {method} - supported types are:"
        yield WillRaise("QVL323", Stage.CONFIG, "ValueError", text, "config-object", why, evidence=row.evidence)


def _of_a_model(situation: Situation) -> WillRaise:
    text, why = (
        "'BitNetConfig' object has no attribute 'quant_method'",
        "BitNetConfig is the configuration of a model; BitNetQuantConfig quantises",
    )
    evidence = Evidence.RECORDED if situation.packages.at_least("transformers", 5, 17) else Evidence.SOURCE
    return WillRaise("QVL323", Stage.CONFIG, "AttributeError", text, "config-object", why, evidence=evidence)


def asks_for_nothing(situation: Situation) -> bool:
    """Is a BitsAndBytesConfig passed that switches on neither width, for a plain checkpoint? Raises Undecided."""
    passed = situation.request.kwargs.get("quantization_config")
    if not isinstance(passed, ConfigObject) or passed.class_name != "BitsAndBytesConfig" or _stored_method(situation) is not None:
        return False
    return not passed.fields.get("load_in_4bit") and not passed.fields.get("load_in_8bit")


def merge(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: sets ``draft.quantization``; raises where the two configurations do not go together."""
    if isinstance(situation.request.kwargs.get("config"), LiveObject):
        raise Undecided("the call passes a configuration of its own, which is known by its class alone")
    passed, method = situation.request.kwargs.get("quantization_config"), _stored_method(situation)
    flags = bit_flags(situation)
    if method is None:
        draft.quantization = _on_the_fly(situation, passed, flags)
        return
    settings = situation.checkpoint.quantization or {}
    draft.quantization = Quantization(method, settings, pre_quantized=True)
    if isinstance(passed, ConfigObject) and passed.class_name == CLASS_OF.get(method):
        draft.quantization = Quantization(
            method, loading_attributes.merged(situation, method, settings, passed), pre_quantized=True
        )
    elif isinstance(passed, ConfigObject) and passed.class_name == "AutoRoundConfig":
        if situation.packages.at_least(
            "transformers", 4, 52
        ):  # before it looks at the stored method (quantizers/auto.py; run on 5.23.0)
            draft.quantization = Quantization("auto-round", settings, pre_quantized=True)
    elif (passed is not None or (flags and takes_flags(situation))) and _can_clash(situation, method, passed):
        yield from _clash(situation, method, passed, flags)


def _stored_method(situation: Situation) -> str | None:
    """The checkpoint's method. One that stands in text_config alone is read from 5.17 on (quantizers/auto.py; 5.0.0 does not)."""
    checkpoint = situation.checkpoint
    if quant_methods.skipped(situation) is not None:
        return None  # loaded as if it were a plain model
    if "quantization_config" in checkpoint.config or checkpoint.quantization is None:
        return checkpoint.quant_method
    release = situation.packages.release("transformers") or (0,)
    if (5, 0, 1) <= release < (5, 17):
        raise Undecided("whether this release reads the quantisation of a nested text_config was not looked up")
    return checkpoint.quant_method if release >= (5, 17) else None


def _can_clash(situation: Situation, method: str, passed: Any) -> bool:
    """Is this another kind of configuration, in a release that minds? Flags are a BitsAndBytesConfig."""
    name = passed.class_name if isinstance(passed, ConfigObject) else "BitsAndBytesConfig"
    if method not in CLASS_OF or (isinstance(passed, ConfigObject) and name not in METHOD_OF):
        return False
    if isinstance(passed, (Mapping, str)):
        minds = not (situation.packages.at_least("transformers", 4, 38) and not situation.packages.at_least("transformers", 4, 56))
        return minds or method in _READ_LOADING_ATTRIBUTES
    if name == CLASS_OF[method]:
        return False
    release = situation.packages.release("transformers") or (0,)
    if release < (4, 36):
        return method == "gptq" and name == "BitsAndBytesConfig"
    if (4, 38) <= release < (4, 56):
        return method in _READ_LOADING_ATTRIBUTES and name == "BitsAndBytesConfig"
    return True


def _on_the_fly(situation: Situation, passed: Any, flags: list[str]) -> Quantization | None:
    """A plain checkpoint that the call itself quantises."""
    if isinstance(passed, ConfigObject):
        if asks_for_nothing(situation) and not situation.packages.at_least("transformers", 4, 38):
            return None  # run: 4.36.2, 4.37.2; later releases quantise to 4 bits
        # AutoRoundConfig stands in no table of classes that are compared: transformers takes it on a GPTQ checkpoint, too.
        if passed.class_name not in QUANTIZATION_CONFIGS:
            raise Undecided(f"what transformers does with a {passed.class_name} is not known: it is in no release that was read")
        method = "auto-round" if passed.class_name == "AutoRoundConfig" else METHOD_OF.get(passed.class_name, passed.class_name)
        return Quantization(method, passed.fields, pre_quantized=False)
    if isinstance(passed, Mapping):
        method = (
            "bitsandbytes"
            if passed.get("load_in_4bit") or passed.get("load_in_8bit")
            else str(passed.get("quant_method", "unknown"))
        )
        return Quantization(method, passed, pre_quantized=False)
    if flags and takes_flags(situation):
        return Quantization("bitsandbytes", {flag: situation.request.kwargs[flag] for flag in flags}, pre_quantized=False)
    return None


def _clash(situation: Situation, method: str, passed: Any, flags: list[str]) -> Iterator[WillRaise]:
    bnb = isinstance(passed, ConfigObject) and passed.class_name == "BitsAndBytesConfig"
    four_bit = passed.fields.get("load_in_4bit") if bnb else "load_in_4bit" in flags  # an object overrides the flags
    said = show(passed) if passed is not None else f"{flags[0]}=True"
    why = f"the checkpoint is quantised with {method} already, and the call passes {said}"
    if four_bit and takes_flags(situation) and not situation.packages.has("bitsandbytes"):
        # BitsAndBytesConfig.post_init asks for the version of bitsandbytes (4.32 to 4.57, utils/quantization_config.py).
        yield WillRaise(
            "QVL303",
            Stage.ENVIRONMENT,
            "PackageNotFoundError",
            "No package metadata was found for bitsandbytes",
            "quant-clash",
            why,
            evidence=Evidence.RECORDED,
        )
        return
    if not situation.packages.at_least("transformers", 4, 38) and _asks_bnb(passed):
        found = _before_438(situation)
        if found is not None:
            yield WillRaise("QVL303", Stage.ENVIRONMENT, *found[:2], "quant-clash", why, evidence=found[2])
            return
    plain = isinstance(passed, (Mapping, str))
    table = _DICT if plain else _OTHER_CLASS
    row, name = table.row(situation.packages), passed.class_name if isinstance(passed, ConfigObject) else "BitsAndBytesConfig"
    text = row.value.text.replace("dict", "str" if isinstance(passed, str) else "dict").format(
        passed=name, ours=CLASS_OF.get(method, method), method=method
    )
    yield WillRaise("QVL303", Stage.CONFIG, row.value.type, text, "quant-clash", why, evidence=row.evidence)


def _asks_bnb(passed: Any) -> bool:
    """Do the flags, or a BitsAndBytesConfig with one of them on, ask for bitsandbytes? Without a width the object asks for nothing (run: 4.37.2)."""
    if passed is None:
        return True
    bnb = isinstance(passed, ConfigObject) and passed.class_name == "BitsAndBytesConfig"
    return bnb and bool(passed.fields.get("load_in_4bit") or passed.fields.get("load_in_8bit"))


def _before_438(situation: Situation) -> tuple[str, str, Evidence] | None:
    """Up to 4.37 what bitsandbytes needs is asked for before the checkpoint's configuration is read (run without a GPU: 4.36.2, 4.37.2)."""
    if not available(situation):
        return "RuntimeError", NO_GPU, Evidence.RUN
    if not situation.packages.has("bitsandbytes") or not situation.packages.has("accelerate"):
        return "ImportError", BNB_AND_ACCELERATE, Evidence.SOURCE
    return None
