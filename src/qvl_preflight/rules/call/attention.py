"""The attention implementation that is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.facts import Facts, Packages
from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan, WillRaise
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import Dtype, Request
from qvl_preflight.rule import as_planned, rule

_FOR_THIS_TORCH = Fix.display(
    "Leave flash-attn out, or compile it for this torch",
    "pip uninstall -y flash-attn",
    "pip install --force-reinstall --no-deps --no-cache-dir --no-build-isolation flash-attn",
)


@rule(
    "QVL904",
    Severity.ERROR,
    topic="flash-attn-missing",
    symptoms=(
        r"FlashAttention[234] has been toggled on, but it cannot be used due to the following error: the package",
        r"`kernels` is either not installed",
    ),
)
def attention_package_missing(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    The attention implementation that is asked for is not installed.

    ## What happens
    `flash_attention_2` needs the package flash-attn, `flash_attention_3` flash-attn-3, `flash_attention_4` (from transformers 5.4 on) flash-attn-4, a name like
    `org/kernel` the package kernels. Without it the load raises an ImportError. transformers 5 falls back to a kernel of the hub where kernels is installed.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="flash_attention_2")
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Required: without the argument the release takes the best that the model has, mostly PyTorch's own; the same result, with differences in the last digits.
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
    transformers from 4.36 on takes "eager", "sdpa" and "flash_attention_2", later ones a few more; another name raises a ValueError while the model is
    built. Kernels of the hub (`org/kernel`) are taken from 4.48 on.

    ## Example
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="flash_attn_2")
    ```
    Use instead:
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Required: without the argument the release takes the best that the model has, mostly PyTorch's own; the same result, with differences in the last digits.
    """
    yield from as_planned(plan, "QVL905", _own_attention(request))


@rule(
    "QVL932",
    Severity.ERROR,
    topic="sdpa-unsupported",
    symptoms=(
        r"does not support an attention implementation through torch\.nn\.functional\.scaled_dot_product_attention",
        r"does not support Flash Attention [23]",
        r"does not support an attention implementation through torch's flex_attention",
    ),
)
def attention_not_taken(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    The model's class has no attention of that kind in this release.

    ## What happens
    Each class of transformers says which attention it has; OPT has sdpa since 4.46, GPT-2 FlashAttention since 4.40, BLOOM neither. Asked for by name it is
    refused: `ValueError: … does not support …`. By default the release takes the best that the class has. The code of Qwen and Qwen-VL chooses
    FlashAttention by `use_flash_attn` of its own config.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("bigscience/bloom-560m", device_map={"": 0}, attn_implementation="sdpa")
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("bigscience/bloom-560m", device_map={"": 0})
    ```

    ## Fix safety
    Required: without the argument the release takes the best that the model has; the same result, with differences in the last digits.
    """
    yield from as_planned(plan, "QVL932", _own_attention(request))


@rule("QVL933", Severity.ERROR, topic="flash-attn-abi", symptoms=(
    r"you need flash_attn package version to be greater or equal than", r"FlashAttention2 requires at least version",
    r"flash_attn_func\(\) got an unexpected keyword argument",
))  # fmt: skip
def flash_attention_too_old(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    The installed flash-attn is older than this transformers takes.

    ## What happens
    transformers from 4.36 on takes flash-attn from 2.1.0 on, from 5.5 on 2.3.3; an older one raises an ImportError while the model is built.

    ## Example
    ```python stack=today-old-flash
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="flash_attention_2")
    ```
    Use instead:
    ```python stack=today-old-flash
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Required: without the argument the release takes PyTorch's own attention; the same result, with differences in the last digits.
    """
    yield from as_planned(plan, "QVL933", _own_attention(request))


@rule("QVL934", Severity.ERROR, topic="flash-attn-arch", symptoms=(
    r"Flash ?Attention ?2 is not available on CPU", r"not initialized on GPU and with no GPU available", r"with a model dispatched on CPU or disk",
))  # fmt: skip
def flash_attention_without_gpu(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    FlashAttention is asked for where the model, or a part of it, is not on a GPU.

    ## What happens
    FlashAttention runs on NVIDIA GPUs alone. Where torch sees none, the load raises: ImportError up to 4.44 and from 5.5 on, ValueError between. Up to
    4.53 a device_map that names the CPU or the disk raises a ValueError too.

    ## Example
    ```python hardware=no-gpu stack=today-flash
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", attn_implementation="flash_attention_2")
    ```
    Use instead:
    ```python hardware=no-gpu stack=today-flash
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Required: without the argument the release takes PyTorch's own attention, which runs on the CPU.
    """
    yield from as_planned(plan, "QVL934", _own_attention(request))


@rule("QVL935", Severity.WARNING, topic="flash-attn-dtype", symptoms=(
    r"Flash ?Attention only supports? fp16 and bf16 data type", r"Flash Attention 2\.0 only supports torch\.float16 and torch\.bfloat16 dtypes\. You passed",
))  # fmt: skip
def flash_attention_in_float32(plan: LoadPlan, checkpoint: Checkpoint, remedies: Remedies) -> Iterator[Finding]:
    """
    FlashAttention is asked for, and the weights will be float32.

    ## What happens
    transformers warns and loads (4.34 and 4.35 refuse a dtype that is passed); the first forward raises `RuntimeError: FlashAttention only support fp16 and
    bf16 data type`, unless it runs inside torch.autocast. Before transformers 5, float32 is what a load without a dtype gives.

    ## Example
    ```python stack=today-flash
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="flash_attention_2", dtype=torch.float32)
    ```
    Use instead:
    ```python stack=today-flash
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="flash_attention_2", dtype=torch.bfloat16)
    ```

    ## Fix safety
    Required: the dtype of the checkpoint where that is a half precision, else bfloat16.
    """
    half = checkpoint.dtype if checkpoint.dtype in ("float16", "bfloat16") else "bfloat16"
    fix = remedies.edit(f"Load in {half}", Applicability.REQUIRED, **{remedies.dtype_key: Dtype(half)})
    yield from as_planned(plan, "QVL935", fix)


@rule("QVL936", Severity.WARNING, topic="flash-attn-arch", symptoms=(r"FlashAttention only supports Ampere GPUs or newer",))
def flash_attention_on_an_old_gpu(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    FlashAttention is asked for on a GPU that it is not made for.

    ## What happens
    flash-attn 2 needs compute capability 8.0 (Ampere). transformers does not look: the model loads, and the first forward raises `RuntimeError:
    FlashAttention only supports Ampere GPUs or newer`.

    ## Example
    ```python hardware=t4 stack=today-flash
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-0.5B-Instruct", device_map={"": 0}, attn_implementation="flash_attention_2", dtype=torch.float16)
    ```
    Use instead:
    ```python hardware=t4 stack=today-flash
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-0.5B-Instruct", device_map={"": 0}, dtype=torch.float16)
    ```

    ## Fix safety
    Required: without the argument the release takes PyTorch's own attention; the same result, with differences in the last digits.
    """
    yield from as_planned(plan, "QVL936", _own_attention(request))


def _own_attention(request: Request) -> Fix:
    """Say nothing of attention: a class that lacks sdpa refuses it by name, and takes its best by default."""
    given = [key for key in ("attn_implementation", "use_flash_attention_2") if key in request.kwargs]
    edits = tuple(Edit(key, request.get(key), MISSING) for key in given)
    return Fix("Leave the attention to the release", Applicability.REQUIRED, edits)


@rule("QVL937", Severity.ERROR, topic="flash-attn-abi")  # its symptoms: QVL690, which knows no release
def flash_attn_for_another_torch(plan: LoadPlan, request: Request, facts: Facts) -> Iterator[Finding]:
    """
    The installed flash-attn is compiled for another torch.

    ## What happens
    flash-attn comes compiled for one release of torch, one CUDA and one C++ ABI; beside another torch its library asks for names that are not there
    (`undefined symbol`). transformers imports it wherever a GPU is visible, whatever attention the call asks for: up to 4.47 with the models that can use
    it, from 4.48 to 4.54 with every model. From 4.55 on only `attn_implementation="flash_attention_2"` meets it.

    ## Example
    ```python stack=today-foreign-flash
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="flash_attention_2")
    ```
    Use instead:
    ```python stack=today-foreign-flash
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Required, from transformers 4.55 on: without the argument the release takes PyTorch's own attention; the same result, with differences in the last digits.
    Shown for older releases: a flash-attn for this torch, or none.
    """

    def remedy(raised: WillRaise) -> Fix | None:
        newer = Packages(facts).at_least("transformers", 4, 55)
        return _own_attention(request) if newer else _FOR_THIS_TORCH

    yield from as_planned(plan, "QVL937", remedy)
