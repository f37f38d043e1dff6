"""Runs calls of from_pretrained for real, inside a stack's own Python. Imports once, then one child process per case.

usage: runner.py MODELS < cases.jsonl > outcomes.jsonl

A case: {"id", "model", "kwargs" (plain form), "loader", "purpose", "action": "forward" | "lora_step", "peft", "fix": true}. With "fix" the kwargs go through
qvl_preflight.fix_kwargs first, as live objects, with the facts of this very process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any

LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
FORK_LIMIT_S, LIMIT_S = 45, 300  # gptqmodel keeps threads; a fork that catches one of their locks hangs


def decode(value: Any) -> Any:
    """Plain form → live objects."""
    import torch

    if isinstance(value, dict):
        if "__dtype__" in value:
            return getattr(torch, value["__dtype__"])
        if "__device__" in value:
            return torch.device(value["__device__"])
        if "__class__" in value:
            return named(value["__class__"])(**{k: decode(v) for k, v in value.items() if k != "__class__"})
        return {(int(k) if k.lstrip("-").isdigit() else k): decode(v) for k, v in value.items()}
    return value


def named(name: str) -> Any:
    """A class of transformers, imported as a program does it."""
    scope: dict[str, Any] = {}
    exec(f"from transformers import {name}", scope)
    return scope[name]


def run(case: dict[str, Any], models: str) -> dict[str, Any]:
    """What the call does: outcome, stage, devices, kernel, gradients, or the exception."""
    out: dict[str, Any] = {"id": case["id"], "outcome": "error", "stage": "load"}
    try:
        import torch

        loader = named(case.get("loader", "AutoModelForCausalLM"))
        kwargs = decode(case["kwargs"])
        path = os.path.join(models, case["model"])
        if case.get("fix"):
            import qvl_preflight

            peft = case.get("peft", LORA) if case["action"] == "lora_step" else None
            fixed = qvl_preflight.fix_kwargs(path, purpose=case["purpose"], peft=peft, **kwargs)
            out["changes"] = [change.path for change in fixed.changes]
            out["remaining"] = [finding.code for finding in fixed.remaining.findings if finding.severity.value == "error"]
            kwargs = dict(fixed)
        model = loader.from_pretrained(path, **kwargs)
        if kwargs.get("output_loading_info"):
            model, _ = model
        tensors = [tensor for _, tensor in [*model.named_parameters(), *model.named_buffers()]]
        out["devices"] = sorted({str(tensor.device) for tensor in tensors})
        out["dtype"] = str(next(model.parameters()).dtype).removeprefix("torch.")
        layer = next(module for name, module in model.named_modules() if name.endswith("q_proj"))
        out["linear"] = type(layer).__module__.rpartition(".")[2]
        tokens = torch.randint(0, 300, (1, 16), device=next((d for d in reversed(out["devices"]) if d != "meta"), "cpu"))
        if case["action"] == "forward":
            out["stage"] = "forward"
            with torch.no_grad():
                out["finite"] = bool(torch.isfinite(model(tokens)[0].float()).all())
        else:
            out["stage"] = "train"
            out |= lora_step(model, tokens, case)
        out["outcome"] = "ok"
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        out["error"] = {
            "type": type(error).__name__,
            "message": str(error)[:600],
            "at": f"{frames[-1].filename.rpartition('site-packages/')[2]}:{frames[-1].lineno}",
        }
    return out


def lora_step(model: Any, tokens: Any, case: dict[str, Any]) -> dict[str, Any]:
    """One training step of LoRA adapters in a bare loop."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if case["purpose"] == "qlora":
        model = prepare_model_for_kbit_training(model)
    model = get_peft_model(model, LoraConfig(**case.get("peft", LORA)))
    model.train()
    model(input_ids=tokens, labels=tokens)[0].backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    norm = sum(float((g.float() ** 2).sum()) for g in gradients if g is not None) ** 0.5
    return {"grads": sum(g is not None for g in gradients), "grad_norm": norm}


def alone(case: dict[str, Any], models: str) -> dict[str, Any]:
    """A case whose fork hung (threads of the parent held a lock): once more, in an interpreter of its own."""
    command = [*sys.orig_argv, "--alone"]
    try:
        done = subprocess.run(command, input=json.dumps(case) + "\n", capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return {"id": case["id"], "outcome": "timeout", "stage": "?"}
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"id": case["id"], "outcome": "died", "stage": "?"}


def in_child(case: dict[str, Any], models: str) -> dict[str, Any]:
    """One case in a process of its own, with a time limit: one that breaks cannot spoil the next."""
    with tempfile.TemporaryFile() as answer:
        pid = os.fork()
        if pid == 0:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            answer.write(json.dumps(run(case, models), default=str).encode())
            answer.flush()
            os._exit(0)
        until = time.monotonic() + FORK_LIMIT_S
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > until:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                return alone(case, models)
            time.sleep(0.02)
        answer.seek(0)
        text = answer.read()
    if b"in_bad_fork" in text or b"forked subprocess" in text:  # torch keeps a fork from asking for CUDA
        return alone(case, models)
    return json.loads(text) if text else {"id": case["id"], "outcome": "died", "stage": "?"}


if __name__ == "__main__":
    import contextlib

    if sys.argv[-1] == "--alone":
        for line in sys.stdin:
            with contextlib.redirect_stdout(sys.stderr):
                outcome = run(json.loads(line), sys.argv[1])
            print(json.dumps(outcome, default=str), flush=True)
        sys.exit()
    with contextlib.redirect_stdout(sys.stderr):
        with contextlib.suppress(BaseException):  # a stack without one of them is a case of its own
            from transformers import AutoModelForCausalLM, GPTQConfig, LlamaForCausalLM  # noqa: F401
        with contextlib.suppress(BaseException):
            import peft  # noqa: F401
        with contextlib.suppress(BaseException):
            import optimum.gptq  # noqa: F401
    for line in sys.stdin:
        print(json.dumps(in_child(json.loads(line), sys.argv[1])), flush=True)
