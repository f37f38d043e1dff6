"""QVL7xx: one process with several GPUs, whose Trainer copies the model to each of them."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.plan import LoadPlan, Situation
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Finding, Severity
from qvl_preflight.rule import rule
from qvl_preflight.stack.trainer import copied, data_parallel
from qvl_preflight.unknown import need


@rule("QVL703", Severity.WARNING, topic="dataparallel-split")
def data_parallel_over_quantized(plan: LoadPlan, situation: Situation, remedies: Remedies) -> Iterator[Finding]:
    """
    Trainer would wrap a quantised model in DataParallel.

    ## What happens
    In one plain process that sees several GPUs, Trainer copies the model to each of them (`nn.DataParallel`), unless it is spread already.
    8-bit models are exempt, 4-bit ones since transformers 5.6, GPTQ models are not: the copies share buffers and handles of the first GPU, and
    the first step fails or computes on the wrong device. No argument of from_pretrained mends that.

    ## Example
    ```python hardware=two-gpus stack=legacy purpose=qlora trainer=yes
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, use_exllama=False))
    ```
    Use instead, with one GPU shown or one process per GPU:
    ```python hardware=a100 stack=legacy purpose=qlora trainer=yes
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, use_exllama=False))
    ```

    ## Fix safety
    Shown, not applied: it is a matter of how the script is started.
    """
    quantization = need(plan.quantization)
    if quantization is not None and copied(situation, quantization) and data_parallel(situation, plan):
        kind = "GPTQ" if quantization.method == "gptq" else "4-bit"
        message = f"Trainer will copy this {kind} model to every visible GPU (DataParallel), which its layers do not survive"
        yield Finding(message, "train", fix=remedies.one_gpu_command())
