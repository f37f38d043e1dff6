"""Loads models inside a stack's own Python, asks check() about them, and does what it speaks of. Prints one line of JSON records.

usage: loaded_models.py MODELS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

import qvl_preflight

MODELS = Path(sys.argv[1])
ADAPTER = MODELS / "adapter"
OUT: list[dict[str, Any]] = []


def load(name: str = "plain-bf16", **kwargs: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(str(MODELS / name), **kwargs)


def lora(model: Any) -> Any:
    return get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))


def state(model: Any) -> list[Any]:
    return [
        [module.training for module in model.modules()],
        [None if each.grad is None else each.grad.sum().item() for each in model.parameters()],
        torch.get_rng_state().sum().item(),
    ]


def ask(name: str, model: Any, **how: Any) -> dict[str, Any]:
    before = state(model)
    report = qvl_preflight.check(model, **how)
    record = report.to_dict()
    found = {
        "id": name, "verdict": report.verdict, "codes": [f"{each.code} {each.severity.value}" for each in report.findings if each.severity],
        "gradients": record["loaded"]["gradients"], "trainable": record["loaded"]["trainable"]["tensors"], "kernels": record["loaded"]["kernels"],
        "as it was": state(model) == before, "raised": "",
        "predicted": next((f"{each.raises.type}: {each.raises.text}" for each in report.findings if each.raises), ""),
    }  # fmt: skip
    OUT.append(found)
    report.text()
    return found


def raised(action: Any) -> str:
    try:
        action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def step(model: Any) -> None:
    ids = torch.zeros(1, 8, dtype=torch.long)
    model(input_ids=ids, labels=ids)[0].backward()


ask("plain", load())
ask("plain-full", load(), purpose="full", gradients=True)
adapted = lora(load())
torch.manual_seed(7)
ask("lora", adapted, gradients=True)
adapted.save_pretrained(str(ADAPTER))
frozen = PeftModel.from_pretrained(load(), str(ADAPTER))
ask("inference", frozen)
ask("frozen", frozen, purpose="lora")["raised"] = raised(lambda: step(frozen))
ask("continued", PeftModel.from_pretrained(load(), str(ADAPTER), is_trainable=True), gradients=True)
checkpointing = lora(load())
checkpointing.gradient_checkpointing_enable({"use_reentrant": True})
if hasattr(checkpointing, "disable_input_require_grads") and hasattr(checkpointing.get_base_model(), "_require_grads_hook"):
    checkpointing.disable_input_require_grads()
ask("checkpointing", checkpointing, gradients=True)
again = lora(load())
again.gradient_checkpointing_enable({"use_reentrant": True})
again.enable_input_require_grads()
ask("checkpointing-with-grads", again, gradients=True)
places = {
    "model.embed_tokens": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.norm": "cpu",
    "lm_head": "cpu",
    "model.rotary_emb": "cpu",
}
ask("offloaded", load(device_map=places, offload_folder=str(MODELS / "offload")))
meta = load()
ids = torch.zeros(1, 4, dtype=torch.long)
with torch.no_grad():
    right = meta(ids)[0]
    meta.model.layers[1].mlp.to("meta")
    record = ask("meta", meta)
    gone = raised(lambda: record.update(same=torch.equal(right, meta(ids)[0])))
record["happened"] = gone or ("nothing" if record["same"] else "other values")
how = {"quantization_config": transformers.GPTQConfig(bits=4, use_exllama=False)} if transformers.__version__ < "4.40" else {}
quantized = lora(load("gptq-int4", device_map="cpu", **how))
ask("gptq", quantized, gradients=True)["raised"] = raised(quantized.train)
print(json.dumps(OUT))
