"""Arguments that this release reads differently, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import ConfigObject, Dtype, Request, show
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.left_over import meant
from qvl_preflight.stack.transformers import DTYPE_SLIPS
from qvl_preflight.symptoms import Symptom

_DTYPE_WORDS = {**DTYPE_SLIPS, "half": "float16", "float": "float32"}
_DTYPES = ("float16", "bfloat16", "float32", "float64")
_HEADS = "CausalLM|ConditionalGeneration|SequenceClassification|TokenClassification|QuestionAnswering|MaskedLM|Vision2Seq|ImageTextToText"
_LEFT = r"got an unexpected keyword argument '(load_in_\w+|use_flash_\w+|dtype|attn_implementation|use_auth_token|bf16|fp16|fp32)'"


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
    "fp16" are names of none: depending on the release a ValueError or an AttributeError about torch. The same goes for "bf16" and
    "torch.bfloat16" in config.json, where "bfloat16" is written.

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
    if any(raised.code == "QVL902" and raised.why.startswith("config.json") for raised in plan.raises):
        word = ""  # nothing in the call is to blame
    meant = _DTYPE_WORDS.get(word, word)
    fix = remedies.edit(f"Pass torch.{meant}", Applicability.SAFE, **{key: Dtype(meant)}) if meant in _DTYPES else None
    yield from as_planned(plan, "QVL902", fix)


@rule(
    "QVL903",
    Severity.ERROR,
    topic="version-skew",
    symptoms=(
        rf"(LMHeadModel|For({_HEADS}))\.__init__\(\) {_LEFT}",  # of a program's own classes nothing is known
        Symptom(rf"^\w+: (\w+Model\.)?__init__\(\) {_LEFT}", within=r"transformers|from_pretrained|auto_gptq|peft"),
    ),
)
def argument_not_read(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    An argument that this release does not read reaches the model's constructor.

    ## What happens
    What from_pretrained does not take, and the configuration has no attribute for, is handed on, and the class raises `TypeError: … got an
    unexpected keyword argument`. Gone with transformers 5: `load_in_4bit` and `load_in_8bit` (even when False), `use_auth_token`,
    `resume_download`, and settings of generate() such as `do_sample`. Gone with 4.53: `use_flash_attention_2`. Not there yet: `dtype` before
    4.56, `attn_implementation` before 4.36, `tp_plan` before 4.47. Never there: `bf16`, `fp16`, `device`,
    and any name that no release and no setting of the model's configuration has.

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
    yield from as_planned(plan, "QVL903", lambda raised: _respelt(request, raised.text.split("'")[1], remedies.release))


@rule("QVL913", Severity.ERROR, topic="version-skew")
def misspelt_argument(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    An argument is misspelt.

    ## What happens
    from_pretrained takes any name. What neither it nor the configuration knows is handed on to the class, which raises `TypeError: … got an
    unexpected keyword argument`.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", devices_map={"": 0})
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Safe: the same request, spelt as it is read.
    """
    yield from as_planned(plan, "QVL913", lambda raised: _corrected(request, raised.text.split("'")[1]))


def _corrected(request: Request, key: str) -> Fix | None:
    right, value = meant(key), request.kwargs[key]
    if right is None:
        return None
    drop = Edit(key, value, MISSING)
    if request.get(right) is not MISSING:
        return Fix(f"Drop {key}: {right} is passed too", Applicability.SAFE, (drop,))
    return Fix(f"Call it {right}", Applicability.SAFE, (drop, Edit(right, MISSING, value)))


# What else says the same, and the value that it then has; MISSING: nothing needs to be said.
_SAME = {
    "use_auth_token": "token",
    "use_flash_attention_2": "attn_implementation",
    "use_flash_attn": "attn_implementation",
    "device": "device_map",
}
_GENERATION = ("do_sample", "temperature", "max_length")
_FLAGS = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def _respelt(request: Request, key: str, release: tuple[int, ...]) -> Fix | None:
    """The same request, as this release reads it."""
    value = request.kwargs[key]
    drop = Edit(key, value, MISSING)
    if key in ("load_in_4bit", "load_in_8bit") and value and request.kwargs.get("quantization_config") is None:
        config = ConfigObject("BitsAndBytesConfig", {key: True})
        edit = Edit("quantization_config", request.get("quantization_config"), config)
        return Fix(f"Say it in a BitsAndBytesConfig: {config}", Applicability.SAFE, (drop, edit))
    if key == "dtype":
        edit = Edit("torch_dtype", request.get("torch_dtype"), value)
        return Fix("Call it torch_dtype, as this release does", Applicability.SAFE, (drop, edit))
    if key in _FLAGS and value:
        name = "dtype" if release >= (4, 56) else "torch_dtype"
        edit = Edit(name, request.get(name), Dtype(_FLAGS[key]))
        return Fix(f"Say {name}=torch.{_FLAGS[key]}", Applicability.SAFE, (drop, edit) if request.get(name) is MISSING else (drop,))
    if key in _GENERATION:
        return Fix(f"Drop {key}, and pass it to generate()", Applicability.UNSAFE, (drop,))
    if key in _PLAIN or key in _SAME:
        return _same(request, key, drop, release) or Fix(f"Drop {key}", Applicability.SAFE, (drop,))
    return None


_PLAIN = (
    *_FLAGS,
    "load_in_4bit",
    "load_in_8bit",
    "load_in_16bit",
    "resume_download",
    "torchscript",
    "attn_implementation",
    "use_kernels",
)


def _same(request: Request, key: str, drop: Edit, release: tuple[int, ...]) -> Fix | None:
    value, other = request.kwargs[key], _SAME.get(key)
    if key == "attn_implementation" and value == "flash_attention_2" and release >= (4, 34):
        other, value = "use_flash_attention_2", True
    elif key in ("use_flash_attention_2", "use_flash_attn"):
        other, value = ("attn_implementation", "flash_attention_2") if value and release >= (4, 36) else (None, None)
    if other is None or not value or request.get(other) is not MISSING:
        return None
    return Fix(f"Say {other}={show(value)}", Applicability.SAFE, (drop, Edit(other, MISSING, value)))
