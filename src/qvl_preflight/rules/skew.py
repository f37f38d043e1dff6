"""QVL603 to 607: installed packages that do not go together, after an upgrade of one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.facts import Packages
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack import requirements, torchvision
from qvl_preflight.versions import Evidence

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts
    from qvl_preflight.plan import LoadPlan
    from qvl_preflight.stack.requirements import Skew


def _found(code: str, met: Iterator[Skew], plan: LoadPlan | None) -> Iterator[Finding]:
    """Of a call what its plan met; of a machine alone the first that will be met."""
    first = next(met, None)
    if first is None:
        return
    title = "Install what goes with it" if len(first.install) == 1 else "Install one of these"
    fix = Fix.display(title, *(f"pip install {package}" for package in first.install))
    if plan is not None:
        yield from as_planned(plan, code, fix)
    else:
        severity = None if first.evidence is not Evidence.SOURCE else Severity.WARNING
        yield Finding(first.why, "import", fix=fix, severity=severity)


@rule(
    "QVL603",
    Severity.ERROR,
    topic="dep-skew-import",
    environment=True,
    symptoms=(
        r"is required for a normal functioning of this module, but found",
        r"cannot import name '\w+' from 'huggingface_hub'",
    ),
)
def transformers_not_importable(facts: Facts, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    transformers can not be imported beside the packages that are installed.

    ## What happens
    When it is imported transformers compares the releases of numpy, tokenizers, huggingface-hub and safetensors with its own list, and raises an ImportError
    for the first that is out of range. pip installs what fits; an upgrade of one package alone, another package that pulls one up, or a downgrade of
    transformers leaves a pair that does not.

    ## Example
    ```python stack=today-old-tokenizers
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead, with the tokenizers that goes with it:
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """
    yield from _found("QVL603", requirements.transformers(Packages(facts)), plan)


@rule(
    "QVL604",
    Severity.ERROR,
    topic="dep-skew-import",
    environment=True,
    symptoms=(
        r"cannot import name '(is_npu_available|clear_device_cache|EncoderDecoderCache|HybridCache)'",
        r"No module named 'transformers\.modeling_layers'",
    ),
)
def peft_not_importable(facts: Facts, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    peft can not be imported beside the transformers, accelerate or huggingface-hub that is installed.

    ## What happens
    peft takes names from these packages that came, or went, with a release of theirs: EncoderDecoderCache (transformers 4.43) since peft 0.14, HybridCache (gone in
    transformers 5) from 0.16 to 0.17, clear_device_cache (accelerate 0.32) since 0.15. Its metadata names no such release, so pip sees nothing amiss.
    transformers' Trainer imports peft where it is installed, and fails as well.

    ## Example
    ```python stack=legacy-new-peft purpose=lora peft=q_proj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead, with a peft of its day:
    ```python stack=legacy purpose=lora peft=q_proj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """
    yield from _found("QVL604", requirements.peft(Packages(facts)), plan)


@rule(
    "QVL605",
    Severity.WARNING,
    topic="version-skew",
    environment=True,
    symptoms=(r"requires the PyTorch library but it was not found in your environment", r"Disabling PyTorch because PyTorch >= "),
)
def torch_counts_as_missing(facts: Facts, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The installed torch is older than this transformers takes, and counts as not installed.

    ## What happens
    Since 4.52 transformers switches PyTorch off where torch is older than its minimum (2.1, then 2.2 in 5.0, 2.4 in 5.2, 2.5, 2.6 in 5.20). A line is logged at import;
    every model then raises `ImportError: AutoModelForCausalLM requires the PyTorch library but it was not found in your environment`.

    ## Example
    ```python stack=today-torch-2.5
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead, with a newer torch:
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """
    yield from _found("QVL605", requirements.torch(Packages(facts)), plan)


@rule(
    "QVL606",
    Severity.ERROR,
    topic="dep-skew-import",
    symptoms=(
        r"gptqmodel requires optimum version",
        r"Found an incompatible version of gptqmodel\. Found version",
        r"cannot import name 'AwqGEMMQuantLinear'",
        r"Found an incompatible version of torchao\. Found version",
        r"cannot import name 'LinearActivationQuantizedTensor' from 'torchao",
    ),
)
def gptqmodel_stops_peft(facts: Facts, plan: LoadPlan) -> Iterator[Finding]:
    """
    A gptqmodel or torchao that this peft does not take stops get_peft_model.

    ## What happens
    peft asks for the release of gptqmodel at each layer that it wraps, GPTQ or not. From 0.15 on it takes gptqmodel from 2.0 on, 0.19 from 5.6.12, 0.20 from 7.0, and optimum from
    1.24 on beside it; anything older that is merely installed raises an ImportError, also over plain weights. peft 0.19 stops at gptqmodel 7 as well, which renamed a
    class that it imports: `cannot import name 'AwqGEMMQuantLinear'`. Of torchao peft takes 0.16 and later from 0.19 on, and before 0.19 none from 0.18 on, whether the model uses
    it or not. Layers of bitsandbytes are wrapped before it asks.

    ## Example
    ```python stack=today-old-gptqmodel purpose=lora peft=q_proj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead, with a newer gptqmodel or none:
    ```python stack=today-without-gptqmodel purpose=lora peft=q_proj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """
    yield from _found("QVL606", requirements.beside_peft(Packages(facts)), plan)


@rule("QVL609", Severity.ERROR, topic="torchvision-skew", environment=True)
def torchvision_for_another_torch(facts: Facts, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The installed torchvision is compiled for another torch.

    ## What happens
    torchvision 0.15 goes with torch 2.0, 0.16 with 2.1, and so on; an upgrade of torch alone leaves one whose library does not load. torchvision passes over that,
    and then fails to import: `RuntimeError: operator torchvision::nms does not exist`. From 4.46 on transformers imports it with every model, also with
    those that read text alone; from 4.52 on it says only `Could not import module 'LlamaForCausalLM'. Are this object's requirements defined correctly?`

    ## Example
    ```python stack=today-foreign-torchvision
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead, with the torchvision of this torch or none:
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """
    yield from _found("QVL609", torchvision.skew(facts), plan)
