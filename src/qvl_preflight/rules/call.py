"""QVL9xx: the checkpoint's files, and the arguments of the call itself."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import ConfigObject, Dtype, Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.transformers import DTYPE_SLIPS
from qvl_preflight.unknown import need

_DTYPE_WORDS = {**DTYPE_SLIPS, "half": "float16", "float": "float32"}
_DTYPES = ("float16", "bfloat16", "float32", "float64")


@rule(
    "QVL901",
    Severity.ERROR,
    topic="offline-missing-file",
    symptoms=(r"SafetensorError.*(HeaderTooLarge|InvalidHeader|MetadataIncompleteBuffer)",),
)
def incomplete_checkpoint(checkpoint: Checkpoint) -> Iterator[Finding]:
    """
    A shard of the checkpoint is missing or cut off.

    ## What happens
    The index names files that are not in the folder, or a file is shorter than its header says. The load stops at that shard, after those
    before it were read.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("broken/missing-shard")
    ```
    Use instead, once the download is complete:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: download the files again.
    """
    weights = need(checkpoint.weights)
    fix = Fix.display("Download the checkpoint again; complete files are kept", f"hf download {checkpoint.path}")
    if weights.missing_shards:
        yield Finding(
            f"{len(weights.missing_shards)} of the shards that the index names are not there, {weights.missing_shards[0]} first",
            fix=fix,
        )
    for name, lacking in (weights.short_shards or {}).items():
        yield Finding(f"{name} is cut off: {lacking:,} bytes are missing", fix=fix)


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


@rule(
    "QVL904",
    Severity.ERROR,
    topic="flash-attn-missing",
    symptoms=(
        r"FlashAttention[23] has been toggled on, but it cannot be used due to the following error: the package",
        r"`kernels` is either not installed",
    ),
)
def attention_package_missing(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    The attention implementation that is asked for is not installed.

    ## What happens
    `flash_attention_2` needs the package flash-attn, `flash_attention_3` flash-attn-3, a name like `org/kernel` the package kernels. Without it
    the load raises an ImportError. transformers 5 falls back to a kernel of the hub where kernels is installed.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="flash_attention_2")
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="sdpa")
    ```

    ## Fix safety
    Required: PyTorch's own attention computes the same, more slowly for long inputs, with differences in the last digits.
    """
    yield from as_planned(
        plan,
        "QVL904",
        _own_attention(request),
    )


@rule("QVL905", Severity.ERROR, topic="sdpa-unsupported", symptoms=(r"Specified `attn_implementation=.* is not supported",))
def unknown_attention(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    The attention implementation has a name that this release does not know.

    ## What happens
    transformers 4.36 to 4.47 take "eager", "sdpa" and "flash_attention_2"; any other name, one of a kernel on the hub included, raises a
    ValueError while the model is built.

    ## Example
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="flash_attn_2")
    ```
    Use instead:
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="sdpa")
    ```

    ## Fix safety
    Required: PyTorch's own attention computes the same, more slowly for long inputs, with differences in the last digits.
    """
    yield from as_planned(plan, "QVL905", _own_attention(request))


def _own_attention(request: Request) -> Fix:
    """sdpa, in place of either spelling."""
    edits = [Edit("attn_implementation", request.get("attn_implementation"), "sdpa")]
    if request.kwargs.get("use_flash_attention_2"):
        edits.append(Edit("use_flash_attention_2", True, MISSING))
    return Fix("Use PyTorch's own attention", Applicability.REQUIRED, tuple(edits))
