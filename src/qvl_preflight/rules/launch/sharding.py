"""QVL7xx: quantised layers under ZeRO-3 and FSDP, which shard parameters and no buffers, and gather them in one dtype."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan, Quantization, Situation
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import ConfigObject, Dtype
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack import deepspeed, fsdp
from qvl_preflight.stack.transformers import zero3
from qvl_preflight.unknown import Unknown, attempt, need

_FLOATS = ("bfloat16", "float16", "float32")
_ZERO2 = 'Use ZeRO-2, or DDP: each rank holds the quantised model whole, with device_map={"": LOCAL_RANK}'


@rule("QVL705", Severity.WARNING, topic="zero3-quant")
def zero3_over_bitsandbytes(plan: LoadPlan, situation: Situation) -> Iterator[Finding]:
    """
    ZeRO-3 partitions bitsandbytes layers in a way that does not train.

    ## What happens
    ZeRO-3 gathers each weight in the dtype of training. 4-bit weights lie in `uint8` unless `bnb_4bit_quant_storage` names a floating dtype, 8-bit
    weights lie in `int8`: the first gather raises (seen with DeepSpeed 0.18 on two ranks). With `bnb_4bit_quant_storage=torch.bfloat16` the same
    weights are sharded and train. transformers before 4.39 partitions the layers before it quantises them, which fails or needs the memory of
    the unquantised model on every rank.

    ## Example
    ```python hardware=zero3 stack=today-bnb purpose=qlora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", dtype=torch.bfloat16, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```
    Use instead:
    ```python hardware=zero3 stack=today-bnb purpose=qlora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", dtype=torch.bfloat16, quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_storage=torch.bfloat16))
    ```

    ## Fix safety
    Safe: the same 4-bit weights and numerics; they are only labelled as another dtype while they are stored.
    """
    if not zero3(situation) or not situation.request.trains or plan.blocked("zero3"):
        return
    quantization = need(plan.quantization)
    if quantization is None or quantization.method != "bitsandbytes":
        return
    if not deepspeed.spares_quantized(situation):
        message = "this transformers partitions the layers for ZeRO-3 before it quantises them: the load fails, or every rank needs the memory of the unquantised model"
        yield Finding(message, "load", fix=Fix.display(_ZERO2, "pip install 'transformers>=4.45' 'bitsandbytes>=0.43.3'"))
    elif deepspeed.gathers_integers(situation, quantization):
        stored = deepspeed.storage(quantization)
        message = f"ZeRO-3 gathers the {quantization.bits}-bit weights, which lie in {stored}, in the dtype of training: the first step raises"
        yield Finding(message, "train", fix=_stored_as_floats(situation, plan, quantization))


@rule("QVL706", Severity.WARNING, topic="zero3-quant")
def unsharded_weights(plan: LoadPlan, situation: Situation) -> Iterator[Finding]:
    """
    GPTQ and AWQ weights are not sharded: every rank holds them whole.

    ## What happens
    Their packed weights are buffers of integers. ZeRO-3 and FSDP shard parameters alone, so nothing is saved by them but the communication they
    cost, and ZeRO-3 forbids the device_map with which each rank would place its copy.

    ## Example
    ```python hardware=zero3 purpose=qlora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", quantization_config=GPTQConfig(bits=4, backend="auto_trainable"))
    ```
    Use instead, under ZeRO-2 or plain DDP, the number being the rank's LOCAL_RANK:
    ```python hardware=rank-1-of-2 purpose=qlora
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 1}, quantization_config=GPTQConfig(bits=4, backend="auto_trainable"))
    ```

    ## Fix safety
    Shown, not applied: it is a matter of the DeepSpeed configuration.
    """
    sharded = zero3(situation) or fsdp.in_use(situation)
    quantization = need(plan.quantization) if sharded and situation.request.trains else None
    if quantization is None or quantization.method not in ("gptq", "awq") or plan.blocked("zero3"):
        return
    by, severity = ("ZeRO-3", None) if zero3(situation) else ("FSDP", Severity.NOTE)
    message = f"the {quantization.method.upper()} weights are buffers, which {by} does not shard: every rank holds them whole"
    yield Finding(message, "train", fix=Fix.display(_ZERO2), severity=severity)


@rule(
    "QVL707",
    Severity.ERROR,
    topic="fsdp-mixed-dtype",
    symptoms=(r"Must flatten tensors with uniform dtype", r"Cannot flatten integer dtype tensors"),
)
def fsdp_over_integer_storage(plan: LoadPlan, situation: Situation) -> Iterator[Finding]:
    """
    FSDP cannot flatten bitsandbytes weights beside the others.

    ## What happens
    Version 1 of FSDP lays the parameters of a layer into one tensor of one floating dtype. 4-bit weights lie in `uint8` unless
    `bnb_4bit_quant_storage` says otherwise: `ValueError: Cannot flatten integer dtype tensors`, or `Must flatten tensors with uniform dtype`. The
    storage must be the dtype of the other weights. 8-bit weights have no such setting.

    ## Example
    ```python hardware=rank-1-of-2 stack=middle-bnb purpose=qlora trainer=fsdp,bf16
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", torch_dtype=torch.bfloat16, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```
    Use instead:
    ```python hardware=rank-1-of-2 stack=middle-bnb purpose=qlora trainer=fsdp,bf16
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", torch_dtype=torch.bfloat16, quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_storage=torch.bfloat16))
    ```

    ## Fix safety
    Safe: the same 4-bit weights and numerics; they are only labelled as another dtype while they are stored.
    """
    quantization = plan.quantization
    fix = _stored_as_floats(situation, plan, quantization) if isinstance(quantization, Quantization) else None
    yield from as_planned(plan, "QVL707", fix)


def _stored_as_floats(situation: Situation, plan: LoadPlan, quantization: Quantization) -> Fix:
    """Name the dtype of the other weights as the storage of the 4-bit ones; where nothing does that, shard nothing."""
    request, dtype = situation.request, plan.dtype
    since = attempt(lambda: situation.packages.at_least("transformers", 4, 39))
    if (
        quantization.bits == 8
        or quantization.pre_quantized
        or dtype not in _FLOATS
        or isinstance(dtype, Unknown)
        or since is not True
    ):
        return Fix.display(_ZERO2)
    title, stored = f"Store the 4-bit weights as {dtype}, like the others", Dtype(dtype)
    passed = request.kwargs.get("quantization_config")
    if isinstance(passed, ConfigObject):
        key = "quantization_config.bnb_4bit_quant_storage"
        return Fix(title, Applicability.SAFE, (Edit(key, request.get(key), stored),))
    whole = ConfigObject("BitsAndBytesConfig", {"load_in_4bit": True, "bnb_4bit_quant_storage": stored})
    edits = [Edit("quantization_config", request.get("quantization_config"), whole)]
    if "load_in_4bit" in request.kwargs:
        edits.append(Edit("load_in_4bit", request.get("load_in_4bit"), MISSING))
    return Fix(title, Applicability.SAFE, tuple(edits))
