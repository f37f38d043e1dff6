"""QVL801 to 805: layers that do not train, and adapters that do not fit them."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.plan import LoadPlan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.unknown import Unknown, need

_TITLE = "Choose a kernel that trains"
# Projections that feed attention or the inner product of the MLP: below an exllama layer their adapters get nothing (recorded for q_proj and v_proj).
# Adapters elsewhere, on what writes into the residual stream or on lm_head, do get a gradient.
INNER = (
    "q_proj",
    "k_proj",
    "v_proj",
    "qkv_proj",
    "gate_proj",
    "up_proj",
    "gate_up_proj",
    "c_attn",
    "query_key_value",
    "fc1",
    "dense_h_to_4h",
)


@rule(
    "QVL801", Severity.ERROR, topic="exllama-training", symptoms=(r"switching to training mode", r"is an inference-only CPU kernel")
)
def kernel_refuses_training(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    The kernel that will hold the weights refuses to train.

    ## What happens
    gptqmodel chooses the fastest kernel for inference: Machete, Marlin, ExLlamaV2, or an AVX-512 kernel on the CPU. `model.train()`, which Trainer
    calls first, then raises `NotImplementedError: … switching to training mode`. `use_exllama=False` and `disable_exllama=True` do nothing in
    transformers 5.

    ## Example
    ```python hardware=a100 purpose=qlora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=a100 purpose=qlora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="auto_trainable"))
    ```

    ## Fix safety
    Required: another kernel computes the same layers, more slowly, with differences in the last digits.
    """
    yield from as_planned(plan, "QVL801", remedies.other_kernel(_TITLE, train=True))


@rule("QVL802", Severity.ERROR, topic="silent-no-gradient")
def no_gradient(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The quantised layers pass no gradient: adapters are attached, and train nothing.

    ## What happens
    The exllama kernels of auto-gptq write their result outside of autograd. LoRA attaches, the step runs, the loss is printed, and no adapter
    below such a layer receives a gradient (recorded: norm 0 for all). Adapters on projections that write into the residual stream (o_proj,
    down_proj) still get one.

    ## Example
    ```python stack=legacy purpose=qlora peft=q_proj,v_proj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0})
    ```
    Use instead:
    ```python stack=legacy purpose=qlora peft=q_proj,v_proj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, use_exllama=False))
    ```

    ## Fix safety
    Required: the plain CUDA kernel computes the same layers, more slowly, with differences in the last digits.
    """
    if not request.trains or need(plan.quantization) is None or plan.blocked("no-train", "lora-targets"):
        return
    if need(plan.trainable):
        return
    kernel = need(plan.kernel)
    all_inner = _only_inner(request)
    fix = remedies.other_kernel(_TITLE, train=True) or remedies.install_for_training()
    reach = "no adapter receives a gradient" if all_inner else "adapters below its layers receive no gradient"
    message = f"training runs, but the {kernel.name if kernel else 'chosen'} kernel passes no gradient: {reach}"
    if plan.kernel_condition:
        message += f" (if {plan.kernel_condition})"
    yield Finding(message, "train", fix=fix, severity=None if all_inner and not plan.kernel_condition else Severity.WARNING)


def _only_inner(request: Request) -> bool:
    """Do all adapters sit where no gradient arrives? Targets that are not named, or are a pattern, are not known to."""
    peft = request.peft or {}
    targets = peft.get("target_modules")
    return (
        isinstance(targets, list)
        and bool(targets)
        and not peft.get("modules_to_save")
        and all(str(name).rpartition(".")[2] in INNER for name in targets)
    )


@rule(
    "QVL803",
    Severity.ERROR,
    topic="exllama-training",
    symptoms=(r"Target module (QuantLinear|WQLinear_\w+|BitLinear)\(.*\) is not supported",),
)
def adapters_do_not_fit(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    This peft cannot attach adapters to the layers that the model will hold.

    ## What happens
    peft works out which class of auto-gptq the layers should have, and refuses every other: `ValueError: Target module QuantLinear() is not
    supported`. With optimum up to 1.13 and auto-gptq from 0.5 on the layers are always exllama v2, whatever GPTQConfig says, and no peft from 0.6 on
    expects that; peft from 0.19 on knows no layer of auto-gptq at all. Of autoawq's layers peft knows those of GEMM, from 0.9 to 0.18: exllama and GEMV are refused.

    ## Example
    ```python stack=seed purpose=qlora
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen-VL-Chat-Int4", device_map={"": 0}, trust_remote_code=True, quantization_config=GPTQConfig(bits=4, disable_exllama=True)
    )
    ```
    Use instead, with optimum 1.14 or later:
    ```python stack=seed-optimum-1.16 purpose=qlora
    AutoModelForCausalLM.from_pretrained(
        "Qwen/Qwen-VL-Chat-Int4", device_map={"": 0}, trust_remote_code=True, quantization_config=GPTQConfig(bits=4, disable_exllama=True)
    )
    ```

    ## Fix safety
    Shown where a package must be replaced; required where switching exllama off is enough.
    """
    yield from as_planned(plan, "QVL803", _fitting(remedies, plan))


def _fitting(remedies: Remedies, plan: LoadPlan) -> Fix | None:
    kernel = plan.kernel
    if isinstance(kernel, Unknown):
        return None  # a method of which no kernel is planned, BitNet say
    if (
        kernel is not None
        and (kernel.name.startswith("exllama") or kernel.backend == "autoawq")
        and not remedies.peft_without_auto_gptq
        and (edit := remedies.other_kernel(_TITLE, train=True))
    ):
        return edit
    return remedies.install_for_training()


@rule("QVL804", Severity.ERROR, topic="bnb-wrong-device")
def int8_layers_on_the_cpu(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    8-bit layers lie on the CPU, and the Trainer computes on the GPU.

    ## What happens
    The Trainer moves the batch and what it can of the model; the int8 layers refuse: `ValueError: Expected a cuda device, but got: cpu`.

    ## Example
    ```python stack=today-bnb purpose=qlora trainer=yes
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu", quantization_config=BitsAndBytesConfig(load_in_8bit=True))
    ```
    Use instead:
    ```python stack=today-bnb purpose=qlora trainer=yes
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_8bit=True))
    ```

    ## Fix safety
    Safe: the same weights on the GPU on which the Trainer computes.
    """
    yield from as_planned(plan, "QVL804", remedies.on_gpu())


@rule(
    "QVL805",
    Severity.ERROR,
    topic="quantized-no-adapters",
    symptoms=(r"You cannot perform fine-tuning on purely quantized models",),
)
def quantized_without_adapters(plan: LoadPlan) -> Iterator[Finding]:
    """
    Trainer is given a quantised model without adapters.

    ## What happens
    Quantised weights are whole numbers and take no gradient. Since transformers 4.34 Trainer refuses them when it is made: `ValueError: You cannot
    perform fine-tuning on purely quantized models. Please attach trainable adapters`.

    ## Example
    ```python hardware=a100 purpose=full trainer=yes
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="auto_trainable"))
    ```
    Use instead:
    ```python hardware=a100 purpose=qlora trainer=yes
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="auto_trainable"))
    ```

    ## Fix safety
    Shown, not applied: attach adapters, or load the checkpoint that is not quantised.
    """
    fix = Fix("Attach adapters (purpose qlora), or train the checkpoint that is not quantised", Applicability.DISPLAY)
    yield from as_planned(plan, "QVL805", fix)
