"""The configuration that is passed, against the one that the checkpoint holds."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.facts import Packages
from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan, WillRaise
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import ConfigObject, Request, show
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.loading_attributes import GPTQ, KERNEL_FLAGS


@rule(
    "QVL303",
    Severity.ERROR,
    topic="quant-config-conflict",
    symptoms=(
        r"The model is quantized with \w+ but you are passing a",
        r"object has no attribute 'get_loading_attributes'",
        r"The model is already quantized with",
    ),
)
def quantization_config_conflict(plan: LoadPlan, request: Request, checkpoint: Checkpoint) -> Iterator[Finding]:
    """
    The quantization_config that is passed is of another kind than the checkpoint's.

    ## What happens
    A checkpoint that is quantised already can not be quantised again, and its own settings decide. Depending on the release the clash is a
    ValueError, an AttributeError about `get_loading_attributes`, or a complaint about a package that is not needed at all. From 4.56 on a
    plain dict counts as another kind, too.

    ## Example
    ```python stack=today
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True)
    )
    ```
    Use instead:
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```

    ## Fix safety
    Required: the weights stay as the checkpoint stores them; what you asked for on top is dropped.
    """
    keys = [key for key in ("quantization_config", "load_in_4bit", "load_in_8bit") if request.kwargs.get(key)]
    title = f"Drop {' and '.join(keys)}: the checkpoint is {checkpoint.quant_method} already"
    fix = Fix(title, Applicability.REQUIRED, tuple(Edit(key, request.get(key), MISSING) for key in keys))
    yield from as_planned(plan, "QVL303", fix)


@rule(
    "QVL304",
    Severity.ERROR,
    topic="gptq-exllama-flags",
    symptoms=(
        r"Only support quantization to \[2,3,4,8\] bits",
        r"Cannot specify both .disable_exllama. and .use_exllama.",
        r"group_size must be greater than 0 or equal to -1",
        r"damp_percent must between 0 and 1",
        r"You have entered a string value for dataset|dataset needs to be either a list of string",
    ),
)
def invalid_gptq_settings(plan: LoadPlan, request: Request, checkpoint: Checkpoint) -> Iterator[Finding]:
    """
    GPTQConfig refuses its own settings.

    ## What happens
    `bits` other than 2, 3, 4 and 8, a group_size of 0, a damp_percent of 1 or more, a dataset that is no known name, or `disable_exllama` together
    with `use_exllama`, raise a ValueError when the object is made or when the checkpoint's settings are read.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=5))
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4))
    ```

    ## Fix safety
    Safe for `bits`: the checkpoint's own number decides anyway. The doubled switch is left to you.
    """
    stored = (checkpoint.quantization or {}).get("bits")

    def remedy(raised: WillRaise) -> Fix | None:
        if raised.cause != "bits" or stored is None or request.get("quantization_config.bits") in (MISSING, stored):
            return None
        return Fix.of(f"Say bits={stored}, as the checkpoint does", Applicability.SAFE, request, quantization_config__bits=stored)

    yield from as_planned(plan, "QVL304", remedy)


@rule("QVL308", Severity.NOTE, topic="gptq-exllama-flags")
def ignored_kernel_flags(request: Request, packages: Packages) -> Iterator[Finding]:
    """
    A switch of GPTQConfig is ignored without a word by this release.

    ## What happens
    `GPTQConfig` swallows names that it does not know: `use_exllama` before 4.35 and from 5.0 on, `disable_exllama` from 4.51 on, `backend` before
    4.49. The kernel is chosen as if they were not there.

    ## Example
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, use_exllama=False))
    ```
    Use instead:
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4))
    ```

    ## Fix safety
    None is offered here: where the kernel matters, the rule for training or placement says which one to ask for.
    """
    passed = request.kwargs.get("quantization_config")
    if not isinstance(passed, ConfigObject) or passed.class_name != "GPTQConfig":
        return
    read = GPTQ.value(packages)
    ignored = [name for name in KERNEL_FLAGS if passed.fields.get(name) is not None and name not in read]
    if ignored:
        listed = ", ".join(f"{name}={show(passed.fields[name])}" for name in ignored)
        yield Finding(f"this transformers does not read {listed}: the kernel is chosen as if it were not there")


@rule(
    "QVL329",
    Severity.ERROR,
    topic="gptq-version-skew",
    symptoms=(r"Block pattern could not be match\. Pass `block_name_to_quantize`",),
)
def blocks_not_found(plan: LoadPlan) -> Iterator[Finding]:
    """
    A GPTQ checkpoint is loaded by a class without a head, in which optimum does not find the blocks.

    ## What happens
    optimum before 2.0 looks for blocks called `model.layers`, `transformer.h`, `gpt_neox.layers` or `model.decoder.layers`. AutoModel makes the model
    without its head, where they are called `layers` or `h`, and the load raises.

    ## Example
    ```python stack=legacy
    AutoModel.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```
    Use instead:
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: the class is not an argument of the call. The layers below the head are its `.model`.
    """
    yield from as_planned(plan, "QVL329", Fix.display("Call AutoModelForCausalLM.from_pretrained, and take its .model"))
