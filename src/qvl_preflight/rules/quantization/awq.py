"""AWQ: the GPU that it wants, the map that it takes, and the archived package that loads it up to transformers 4.57."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.facts import Facts
from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.rules.cuda.ways_out import give_gpu


@rule(
    "QVL313",
    Severity.ERROR,
    topic="awq-no-cuda",
    symptoms=(
        r"AWQ is only available on GPU",
        r"GPU is required to run AWQ quantized model",
        r"Please install IPEX package with `pip install intel_extension_for_pytorch`",
    ),
)
def awq_without_cuda(plan: LoadPlan, facts: Facts) -> Iterator[Finding]:
    """
    An AWQ checkpoint where CUDA is not available.

    ## What happens
    transformers 4.35 to 4.47 load AWQ only where CUDA is available, whatever the device_map says. 4.48 to 4.57 turn to Intel's IPEX instead, and stop
    with an AssertionError where that is not installed. From 5.0 on gptqmodel has kernels for the CPU.

    ## Example
    ```python hardware=no-gpu stack=middle-awq
    AutoModelForCausalLM.from_pretrained("example/awq", device_map="cpu")
    ```
    Use instead, on a machine with a GPU:
    ```python hardware=a100 stack=middle-awq
    AutoModelForCausalLM.from_pretrained("example/awq", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: give the process a GPU, or use transformers 5 with gptqmodel.
    """
    yield from as_planned(plan, "QVL313", give_gpu(facts))


@rule(
    "QVL317",
    Severity.WARNING,
    topic="awq-on-cpu",
    symptoms=(r"load an (AWQ model|IPEX version AWQ model) with a device_map that contains",),
)
def awq_offloaded(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    A device_map that puts part of an AWQ model on the CPU or the disk.

    ## What happens
    transformers 4.35 to 4.57 refuse a dict that names "cpu" or "disk" with `ValueError: You are attempting to load an AWQ model with a device_map that
    contains a CPU or disk device`.

    ## Example
    ```python stack=middle-awq
    AutoModelForCausalLM.from_pretrained("example/awq", device_map={"model": 0, "lm_head": "cpu"})
    ```
    Use instead:
    ```python stack=middle-awq
    AutoModelForCausalLM.from_pretrained("example/awq", device_map={"": 0})
    ```

    ## Fix safety
    Unsafe: the whole model goes to one GPU, which must have room for it.
    """
    fix = remedies.on_gpu()
    if fix is not None:
        drop = (Edit("max_memory", request.get("max_memory"), MISSING),) if request.kwargs.get("max_memory") else ()
        fix = Fix(fix.title, Applicability.UNSAFE, (*fix.edits, *drop))
    yield from as_planned(plan, "QVL317", fix)


@rule(
    "QVL327",
    Severity.WARNING,
    topic="awq-no-cuda",
    symptoms=(
        r"Pointer argument \(at \d+\) cannot be accessed from Triton \(cpu tensor\?\)[\s\S]*awq|awq[\s\S]*cannot be accessed from Triton",
    ),
)
def awq_asked_onto_the_cpu(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    The call puts an AWQ model on the CPU, and autoawq computes on a GPU only.

    ## What happens
    Up to transformers 4.52 the load passes: `device_map="cpu"` has become a `torch.device` where "cpu" is looked for. The first forward then stops
    in autoawq's kernel. 4.53 to 4.57 refuse it: `ValueError: You are attempting to load an AWQ model with a device_map that contains a CPU or disk
    device`. Where no GPU is visible 4.48 to 4.57 take IPEX instead; from 5.0 on gptqmodel has kernels for the CPU.

    ## Example
    ```python stack=middle-awq
    AutoModelForCausalLM.from_pretrained("example/awq", device_map="cpu")
    ```
    Use instead:
    ```python stack=middle-awq
    AutoModelForCausalLM.from_pretrained("example/awq", device_map={"": 0})
    ```

    ## Fix safety
    Safe: the same weights, on the GPU that is there.
    """
    yield from as_planned(plan, "QVL327", remedies.on_gpu())


@rule("QVL320", Severity.ERROR, topic="awq-transformers-skew", symptoms=(r"cannot import name 'PytorchGELUTanh'",))
def autoawq_breaks(plan: LoadPlan) -> Iterator[Finding]:
    """
    autoawq cannot be imported with this transformers.

    ## What happens
    autoawq is archived; its last release was tried with transformers 4.51.3. 4.57 took away `PytorchGELUTanh`, which it imports. The break reaches
    models that are not AWQ as well: peft up to 0.18 imports autoawq wherever it is installed.

    ## Example
    ```python stack=recent-4-awq purpose=lora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead, without autoawq:
    ```python stack=recent-4 purpose=lora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: nothing is installed or removed for you.
    """

    commands = ("pip uninstall autoawq", "pip install 'transformers<4.57'", "pip install 'transformers>=5' gptqmodel")
    fix = Fix.display(
        "Remove autoawq if no AWQ model is used; else an older transformers, or transformers 5 with gptqmodel", *commands
    )
    yield from as_planned(plan, "QVL320", fix)
