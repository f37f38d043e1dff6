"""Trains tiny models with transformers' Trainer inside a stack's own Python, with and without PreflightCallback. Prints one line of JSON.

usage: trainings.py MODELS CASE…
"""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

import qvl_preflight
from qvl_preflight import PreflightCallback

MODELS = Path(sys.argv[1])
DATA = [{"input_ids": list(range(10 + n, 42 + n)), "labels": list(range(10 + n, 42 + n))} for n in range(16)]
USE_CPU = {"use_cpu": True}


def base() -> Any:
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_pretrained(str(MODELS / "plain-bf16"))


def lora() -> Any:
    model = base()
    torch.manual_seed(4)
    return get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", lora_dropout=0.1))


def frozen() -> Any:
    lora().save_pretrained(str(MODELS / "frozen"))
    return PeftModel.from_pretrained(base(), str(MODELS / "frozen"))


class Nothing(torch.nn.Module):
    """Of an unknown kind: no configuration, and names that cannot be listed."""

    config = None

    def __init__(self) -> None:
        super().__init__()
        self.inside = torch.nn.Linear(4, 4)

    def forward(self, input_ids: Any, labels: Any = None) -> dict[str, Any]:
        return {"loss": self.inside(input_ids[:, :4].float()).pow(2).mean()}


class Unlisted(Nothing):
    """One that answers in no way that is known."""

    def named_modules(self, *args: Any, **kwargs: Any) -> Any:
        if any("look.py" in frame.filename for frame in __import__("inspect").stack()):
            raise RuntimeError("not for you")
        return super().named_modules(*args, **kwargs)


class Stillborn(Nothing):
    """Whose gradients are zero."""

    def forward(self, input_ids: Any, labels: Any = None) -> dict[str, Any]:
        return {"loss": super().forward(input_ids)["loss"] * 0}


def train(model: Any, callback: Any = None, **more: Any) -> dict[str, Any]:
    torch.manual_seed(5)
    settings = (
        {
            "max_steps": 4,
            "per_device_train_batch_size": 2,
            "logging_steps": 1,
            "learning_rate": 1e-2,
            "save_strategy": "no",
            "report_to": [],
            "seed": 5,
        }
        | USE_CPU
        | more
    )
    args = TrainingArguments(output_dir=tempfile.mkdtemp(), disable_tqdm=True, **settings)
    out: dict[str, Any] = {"raised": "", "steps": 0}
    try:
        trainer = Trainer(model=model, args=args, train_dataset=DATA, callbacks=[callback] if callback is not None else [])
        trainer.train()
    except Exception as error:
        out["raised"] = f"{type(error).__name__}: {error}"
    else:
        out["steps"] = trainer.state.global_step
        out["sum"] = float(sum(each.double().abs().sum() for each in model.parameters()))
        out["hooks"] = sum(len(each._backward_hooks or ()) for each in model.parameters()) + len(model._forward_pre_hooks)
    return out


def watched(model: Any, **how: Any) -> dict[str, Any]:
    stream = io.StringIO()
    settings = {
        key: how.pop(key) for key in list(how) if key in ("gradient_accumulation_steps", "gradient_checkpointing", "max_steps")
    }
    return train(model, PreflightCallback(stream=stream, **how), **settings) | {"text": stream.getvalue()}


def broken_judge() -> dict[str, Any]:
    from qvl_preflight.loaded import check

    def breaks(loaded: Any, request: Any) -> Any:
        raise ZeroDivisionError("of ours")

    before, check.JUDGES = check.JUDGES, (breaks,)
    try:
        return watched(lora())
    finally:
        check.JUDGES = before


def broken_probe() -> dict[str, Any]:
    import qvl_preflight.probes as probes

    def breaks() -> Any:
        raise OSError("no such machine")

    before, probes.collect = probes.collect, breaks
    try:
        return watched(lora())
    finally:
        probes.collect = before


def closed_stream() -> dict[str, Any]:
    stream = io.StringIO()
    stream.close()
    return train(lora(), PreflightCallback(stream=stream))


def kinds() -> dict[str, Any]:
    class Mine(PreflightCallback):
        pass

    again = pickle.loads(pickle.dumps(PreflightCallback(stop=False)))
    each = (PreflightCallback(), Mine(), again)
    return {
        "ok": all(isinstance(one, (PreflightCallback, TrainerCallback)) and hasattr(one, "on_save") for one in each),
        "stop": again.stop,
    } | train(lora(), PreflightCallback)


def sft() -> dict[str, Any]:
    """trl's SFTTrainer, which loads the model by its name itself."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import SFTTrainer

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({f"w{n}": n for n in range(320)}, unk_token="w1")), unk_token="w1", pad_token="w0", eos_token="w2"
    )  # fmt: skip
    from datasets import Dataset

    data = Dataset.from_list([{"text": " ".join(f"w{n + m}" for m in range(10, 60))} for n in range(8)])
    settings = {
        "output_dir": tempfile.mkdtemp(),
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
    } | USE_CPU
    stream, peft = io.StringIO(), LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    callbacks = [PreflightCallback(stream=stream)]
    name = str(MODELS / "plain-bf16")
    try:
        from trl import SFTConfig
    except ImportError:
        trainer = SFTTrainer(
            name,
            args=TrainingArguments(**settings),
            train_dataset=data,
            dataset_text_field="text",
            tokenizer=tokenizer,
            peft_config=peft,
            callbacks=callbacks,
            max_seq_length=64,
        )
    else:
        trainer = SFTTrainer(
            name,
            args=SFTConfig(bf16=False, **settings),
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=peft,
            callbacks=callbacks,
        )
    trainer.train()
    return {"steps": trainer.state.global_step, "text": stream.getvalue()}


def rank(model: Any) -> dict[str, Any]:
    """One rank of several; what it printed goes to a file of its own."""
    stream = io.StringIO()
    try:
        return train(model, PreflightCallback(stream=stream), ddp_backend="gloo", max_steps=2) | {"text": stream.getvalue()}
    finally:
        (MODELS / f"rank-{os.environ['RANK']}.txt").write_text(stream.getvalue())


def bad_rank() -> dict[str, Any]:
    """Something is wrong on rank 1 alone."""
    from dataclasses import replace

    from qvl_preflight.loaded import check
    from qvl_preflight.loaded.findings import JUDGES, nothing_to_train

    if os.environ["RANK"] == "1":
        check.JUDGES = (
            *JUDGES,
            lambda loaded, request: nothing_to_train(replace(loaded, parts=loaded.parts[:1], adapters={}, gradients=None), request),
        )
    model = lora()
    next(iter(model.parameters())).requires_grad_(False)
    return rank(model)


CASES: dict[str, Any] = {
    "without": lambda: train(lora()),
    "with": lambda: watched(lora()),
    "quiet": lambda: watched(lora(), quiet=True),
    "accumulated": lambda: watched(lora(), gradient_accumulation_steps=2),
    "full": lambda: watched(base()),
    "frozen": lambda: watched(frozen()),
    "frozen-goes-on": lambda: watched(frozen(), stop=False),
    "unknown kind": lambda: watched(Nothing()),
    "unlisted": lambda: watched(Unlisted()),
    "unlisted-without": lambda: train(Unlisted()),
    "stillborn": lambda: watched(Stillborn()),
    "stillborn-short": lambda: watched(Stillborn(), max_steps=1),
    "broken judge": broken_judge,
    "broken probe": broken_probe,
    "closed stream": closed_stream,
    "kinds": kinds,
    "sft": sft,
    "rank": lambda: rank(lora()),
    "bad rank": bad_rank,
}

if __name__ == "__main__":
    wanted = sys.argv[2:] or [name for name in CASES if name not in ("sft", "rank", "bad rank")]
    lora()  # peft imports more when it is first used, and some of that draws random numbers
    results = {name: CASES[name]() for name in wanted}
    print(json.dumps(results | {"version": qvl_preflight.__version__}))
    if any(case.get("raised") for case in results.values()) and "bad rank" in wanted:
        sys.exit(1)
