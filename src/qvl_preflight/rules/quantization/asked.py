"""A quantization_config that is none, that asks for nothing, or that asks for work that cannot be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan, Situation, WillRaise
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import ConfigObject, Dtype, Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.quantizers import CLASS_OF, asks_for_nothing


@rule(
    "QVL323",
    Severity.ERROR,
    topic="quant-config-conflict",
    symptoms=(
        r"'(str|dict)' object has no attribute '(load_in_8bit|quant_method)'",
        r"'NoneType' object has no attribute 'to_dict'",
    ),
)
def quantization_config_is_no_object(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    quantization_config is a string, or a dict that this release does not take.

    ## What happens
    A string raises `AttributeError: 'str' object has no attribute 'quant_method'`. A dict is taken from 4.38 on, where it names a quant_method or
    switches load_in_4bit or load_in_8bit on; before, it raises `'dict' object has no attribute 'load_in_8bit'`. None for a checkpoint that comes
    quantised raises `'NoneType' object has no attribute 'to_dict'` up to 4.57.

    ## Example
    ```python stack=middle-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config="4bit")
    ```
    Use instead:
    ```python stack=middle-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Required: None is left out. A string that says 4 or 8 bits becomes the object that says so, a dict the object with its settings. Other strings are left to you.
    """
    passed = request.kwargs.get("quantization_config")

    def remedy(raised: WillRaise) -> Fix | None:
        if passed is None:
            return Fix("Leave quantization_config out", Applicability.SAFE, (Edit("quantization_config", None, MISSING),))
        meant = _meant(passed)
        if meant is None:
            return None
        return Fix(f"Pass {meant}", Applicability.REQUIRED, (Edit("quantization_config", passed, meant),))

    yield from as_planned(plan, "QVL323", remedy)


def _meant(passed: object) -> ConfigObject | None:
    """The configuration object that a string or a dict stands for."""
    if isinstance(passed, str):
        plain = passed.lower().replace("_", "").replace("-", "")
        bits = next((bits for bits in (4, 8) if plain in (f"{bits}bit", f"int{bits}", f"bnb{bits}bit", f"loadin{bits}bit")), None)
        bits = 4 if plain in ("nf4", "fp4") else bits
        return ConfigObject("BitsAndBytesConfig", {f"load_in_{bits}bit": True}) if bits else None
    if isinstance(passed, Mapping):
        fields = {str(key): value for key, value in passed.items() if key != "quant_method"}
        if passed.get("load_in_4bit") or passed.get("load_in_8bit"):
            return ConfigObject("BitsAndBytesConfig", fields)
        name = CLASS_OF.get(str(passed.get("quant_method")))
        return ConfigObject(name, fields) if name else None
    return None


@rule("QVL324", Severity.WARNING, topic="quant-config-conflict")
def neither_4_nor_8_bits(plan: LoadPlan, request: Request, situation: Situation) -> Iterator[Finding]:
    """
    A BitsAndBytesConfig that switches on neither load_in_4bit nor load_in_8bit.

    ## What happens
    transformers up to 4.37 loads the model unquantised. From 4.38 on the same object quantises to 4 bits, even where it says load_in_4bit=False:
    whoever is not 8-bit is taken for 4-bit.

    ## Example
    ```python stack=middle-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=False))
    ```
    Use instead what is meant:
    ```python stack=middle-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Shown, not applied: whether 4 bits, 8 bits or none are meant is for you to say.
    """
    if not asks_for_nothing(situation):
        return
    passed = request.kwargs["quantization_config"]
    four = [name for name, value in passed.fields.items() if name in _DEFAULTS and _plain(value) not in _DEFAULTS[name]]
    newer = situation.packages.at_least("transformers", 4, 38)
    if newer and four:
        return  # settings of 4-bit layers, and 4-bit layers are what it makes
    does = "quantises the model to 4 bits all the same" if newer else "loads the model unquantised"
    if not newer and not four and "load_in_4bit" in passed.fields:
        return  # says that it wants none, and gets none
    fix = Fix.display("Say load_in_4bit=True or load_in_8bit=True, or leave quantization_config out")
    yield Finding(f"the BitsAndBytesConfig switches on neither 4 nor 8 bits, and this release {does}", fix=fix)


def _plain(value: object) -> object:
    return value.name if isinstance(value, Dtype) else value


# What a BitsAndBytesConfig holds where nothing was said.
_DEFAULTS: dict[str, tuple[object, ...]] = {
    "bnb_4bit_quant_type": (None, "fp4"),
    "bnb_4bit_use_double_quant": (None, False),
    "bnb_4bit_compute_dtype": (None, "float32"),
    "bnb_4bit_quant_storage": (None, "uint8"),
}


@rule(
    "QVL325",
    Severity.ERROR,
    topic="quant-config-conflict",
    symptoms=(r"You need to pass `dataset` in order to quantize your model",),
)
def gptq_without_a_dataset(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    A GPTQConfig on a checkpoint that is not quantised, without a dataset.

    ## What happens
    On a plain checkpoint a GPTQConfig means: quantise it now. That loads the whole model first, then asks for texts to calibrate with and raises
    `ValueError: You need to pass dataset in order to quantize your model`. To load a model that is quantised already, name such a checkpoint.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=GPTQConfig(bits=4))
    ```
    Use instead the checkpoint that is quantised:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4))
    ```

    ## Fix safety
    Unsafe: without the configuration the model loads unquantised, which takes more memory. A dataset, or a quantised checkpoint, is for you to name.
    """
    edit = Edit("quantization_config", request.get("quantization_config"), MISSING)
    fix = Fix("Drop quantization_config, or give it a dataset, or take a quantised checkpoint", Applicability.UNSAFE, (edit,))
    yield from as_planned(plan, "QVL325", fix)


@rule(
    "QVL326", Severity.ERROR, topic="duplicate-quant-kwargs", symptoms=(r"unexpected keyword argument '(llm_int8|bnb_4bit)_\w+'",)
)
def stray_bnb_settings(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    A setting of BitsAndBytesConfig is passed as an argument.

    ## What happens
    `bnb_4bit_quant_type` and its like are fields of BitsAndBytesConfig. Up to 4.57 from_pretrained reads them beside load_in_4bit or load_in_8bit;
    alone, beside a quantization_config, or in transformers 5 they reach the model, whose constructor raises a TypeError.

    ## Example
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen2-7B-Instruct", device_map={"": 0}, bnb_4bit_quant_type="nf4", quantization_config=BitsAndBytesConfig(load_in_4bit=True)
    )
    ```
    Use instead:
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    )
    ```

    ## Fix safety
    Required: where a BitsAndBytesConfig is passed, the settings that it does not hold move into it. Alone they are left to you.
    """
    passed = request.kwargs.get("quantization_config")
    names = [name for name in request.kwargs if name.startswith(("llm_int8_", "bnb_4bit_"))]

    def remedy(raised: WillRaise) -> Fix:
        if not isinstance(passed, ConfigObject) or passed.class_name != "BitsAndBytesConfig":
            return Fix.display("Put them into a BitsAndBytesConfig, with load_in_4bit=True or load_in_8bit=True")
        moved = [Edit(f"quantization_config.{name}", MISSING, request.kwargs[name]) for name in names if name not in passed.fields]
        dropped = [Edit(name, request.kwargs[name], MISSING) for name in names]
        return Fix("Move them into the BitsAndBytesConfig", Applicability.REQUIRED, (*moved, *dropped))

    yield from as_planned(plan, "QVL326", remedy)
