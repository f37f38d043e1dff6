"""QVL811 to 815: a LoraConfig that this model, or this peft, does not take."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.plan import LoadPlan, Situation
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.adapter_targets import modules_of
from qvl_preflight.stack.lora import quantized_copies


def _names(situation: Situation) -> Fix:
    modules = modules_of(situation.checkpoint)
    there = modules.suffixes[:8] if modules else []
    return Fix.display(f"Name layers of this checkpoint in target_modules{f': {there}' if there else ''}")


@rule(
    "QVL811",
    Severity.ERROR,
    topic="lora-bad-targets",
    symptoms=(r"Target modules .* not found in the base model", r"Please specify `target_modules`"),
)
def lora_targets_missing(situation: Situation, plan: LoadPlan) -> Iterator[Finding]:
    """
    No layer of the model is called as target_modules says.

    ## What happens
    peft compares target_modules with the names of the modules: a list by the end of each name, a string as a pattern for all of it ("q_proj" alone matches
    nothing). Where none fits, get_peft_model raises a ValueError: `Target modules … not found in the base model`. Without target_modules it takes its own list,
    which it has for some kinds of model only.

    ## Example
    ```python hardware=a100 purpose=lora peft=c_attn
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=a100 purpose=lora peft=q_proj,v_proj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: it is an argument of LoraConfig.
    """
    yield from as_planned(plan, "QVL811", lambda _: _names(situation))


@rule("QVL812", Severity.ERROR, topic="lora-bad-targets", symptoms=(r"Target module \w+\(.*is not supported\. Currently, only",))
def lora_targets_no_layer(situation: Situation, plan: LoadPlan) -> Iterator[Finding]:
    """
    target_modules reaches a module that can not hold an adapter.

    ## What happens
    peft wraps linear layers, embeddings and convolutions. A name that fits a whole block ("mlp", "self_attn") or a norm is taken as well, and get_peft_model
    raises `ValueError: Target module … is not supported`.

    ## Example
    ```python hardware=a100 purpose=lora peft=mlp
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=a100 purpose=lora peft=gate_proj,up_proj,down_proj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: it is an argument of LoraConfig.
    """
    yield from as_planned(plan, "QVL812", lambda _: _names(situation))


@rule(
    "QVL813",
    Severity.ERROR,
    topic="lora-bad-targets",
    symptoms=(r"Target modules set\(\) not found", r"No `target_modules` passed but also no"),
)
def all_linear_on_gptq(situation: Situation, plan: LoadPlan) -> Iterator[Finding]:
    """
    target_modules="all-linear" finds nothing in a GPTQ model.

    ## What happens
    peft takes it to mean torch.nn.Linear. The layers of bitsandbytes are of that kind, those of auto-gptq and gptqmodel are not: get_peft_model raises a
    ValueError that names an empty set.

    ## Example
    ```python hardware=a100 purpose=qlora lora=target_modules:all-linear
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="auto_trainable"))
    ```
    Use instead:
    ```python hardware=a100 purpose=qlora peft=q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", device_map={"": 0}, quantization_config=GPTQConfig(bits=4, backend="auto_trainable"))
    ```

    ## Fix safety
    Shown, not applied: it is an argument of LoraConfig.
    """
    yield from as_planned(plan, "QVL813", lambda _: _names(situation))


@rule(
    "QVL814",
    Severity.ERROR,
    topic="lora-bad-targets",
    symptoms=(
        r"`r` should be a positive integer value",
        r"Invalid task type: '",
        r"does not support DoRA yet",
        r"Please initialize PiSSA under",
    ),
)
def lora_setting_refused(plan: LoadPlan) -> Iterator[Finding]:
    """
    A setting of the LoraConfig that this peft refuses for this model.

    ## What happens
    A rank must be above 0; since peft 0.14 task_type must be one that it knows; DoRA is not made for GPTQ layers; PiSSA and OLoRA start from the weights
    themselves, which quantised layers do not have. Each raises before anything is trained.

    ## Example
    ```python hardware=a100 purpose=lora peft=q_proj lora=r:0
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=a100 purpose=lora peft=q_proj lora=r:16,task_type:CAUSAL_LM
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: it is an argument of LoraConfig.
    """
    yield from as_planned(plan, "QVL814", Fix.display("Change that setting of LoraConfig"))


@rule("QVL815", Severity.ERROR, topic="lora-bad-targets", symptoms=(r"only Tensors of floating point dtype can require gradients",))
def saved_module_is_quantized(situation: Situation, plan: LoadPlan) -> Iterator[Finding]:
    """
    modules_to_save names a quantised layer, whose weights can not be trained.

    ## What happens
    modules_to_save copies a layer and trains the copy. The weights of a 4- or 8-bit layer of bitsandbytes are whole numbers: `RuntimeError: only Tensors of
    floating point dtype can require gradients`. A GPTQ layer is copied without a word, and nothing of it trains. lm_head is not quantised by default.

    ## Example
    ```python hardware=a100 stack=today-bnb purpose=qlora peft=q_proj lora=modules_to_save:o_proj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```
    Use instead:
    ```python hardware=a100 stack=today-bnb purpose=qlora peft=q_proj,o_proj
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    ```

    ## Fix safety
    Shown, not applied: it is an argument of LoraConfig.
    """
    fix = Fix.display("Name it in target_modules, or keep the layer out of the quantisation (llm_int8_skip_modules)")
    yield from as_planned(plan, "QVL815", fix)
    copies = [] if plan.raised("QVL815") else quantized_copies(situation, plan.quantization)
    if copies:
        message = f"modules_to_save copies {copies[0]}, whose quantised weights take no gradient: the copy is saved as it was"
        yield Finding(message, "train", fix=fix, severity=Severity.WARNING)
