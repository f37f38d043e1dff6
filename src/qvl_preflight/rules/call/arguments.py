"""Arguments that this release reads differently, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import ConfigObject, Dtype, Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.transformers import DTYPE_SLIPS

_DTYPE_WORDS = {**DTYPE_SLIPS, "half": "float16", "float": "float32"}
_DTYPES = ("float16", "bfloat16", "float32", "float64")


@rule(
    "QVL902",
    Severity.ERROR,
    topic="version-skew",
    symptoms=(
        r"`torch_dtype` can be either",
        r"module 'torch' has no attribute '(bf16|fp16|fp32)'",
        r"'str' object has no attribute 'is_floating_point'",
    ),
)
def invalid_dtype(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The dtype is spelt as this release does not read it.

    ## What happens
    Up to transformers 4.37 only a `torch.dtype` or "auto" is taken, not the string "float16"; later any name of a torch dtype is. "bf16" and
    "fp16" are names of none: depending on the release a ValueError or an AttributeError about torch.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, dtype="bf16")
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, dtype=torch.bfloat16)
    ```

    ## Fix safety
    Safe: the same dtype, spelt as the release reads it.
    """
    key = "dtype" if remedies.release >= (4, 56) and request.kwargs.get("dtype") is not None else "torch_dtype"
    word = str(request.kwargs.get(key))
    meant = _DTYPE_WORDS.get(word, word)
    fix = remedies.edit(f"Pass torch.{meant}", Applicability.SAFE, **{key: Dtype(meant)}) if meant in _DTYPES else None
    yield from as_planned(plan, "QVL902", fix)


@rule(
    "QVL903",
    Severity.ERROR,
    topic="version-skew",
    symptoms=(r"__init__\(\) got an unexpected keyword argument '(load_in_4bit|load_in_8bit|use_flash_attention_2|dtype)'",),
)
def argument_not_read(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    An argument that this release does not read reaches the model's constructor.

    ## What happens
    `load_in_4bit` and `load_in_8bit` (transformers 5, even when False), `use_flash_attention_2` (5), `dtype` (before 4.56): what from_pretrained
    does not take is handed on, and the class raises `TypeError: … got an unexpected keyword argument`.

    ## Example
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, load_in_4bit=True)
    ```
    Use instead:
    ```python stack=today-bnb
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Safe: the same request, spelt as the release reads it.
    """
    yield from as_planned(plan, "QVL903", lambda raised: _respelt(request, raised.text.split("'")[1]))


def _respelt(request: Request, key: str) -> Fix | None:
    value = request.kwargs[key]
    drop = Edit(key, value, MISSING)
    if key in ("load_in_4bit", "load_in_8bit"):
        if not value or request.kwargs.get("quantization_config") is not None:
            return Fix(f"Drop {key}", Applicability.SAFE, (drop,))
        config = ConfigObject("BitsAndBytesConfig", {key: True})
        return Fix(
            f"Say it in a BitsAndBytesConfig: {config}", Applicability.SAFE, (drop, Edit("quantization_config", MISSING, config))
        )
    if key == "use_flash_attention_2":
        set_ = (Edit("attn_implementation", MISSING, "flash_attention_2"),) if value else ()
        return Fix('Say attn_implementation="flash_attention_2"', Applicability.SAFE, (drop, *set_))
    if key == "dtype":
        return Fix(
            "Call it torch_dtype, as this release does",
            Applicability.SAFE,
            (drop, Edit("torch_dtype", request.get("torch_dtype"), value)),
        )
    return None
