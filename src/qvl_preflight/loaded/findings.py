"""What is wrong with a loaded model, by what is seen in it. Each judgement is a function; one that breaks takes no other with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from qvl_preflight.counted import counted
from qvl_preflight.loaded.causes import cause
from qvl_preflight.loaded.record import Gradients, Loaded
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import find_rule
from qvl_preflight.rules.training.kernels import INNER
from qvl_preflight.versions import Evidence

Judge = Callable[[Loaded, Request], Iterator[Finding]]

_EXLLAMA = ("exllama", "exllamav2")  # of auto-gptq: they compute outside of autograd (recorded on an H100)


def weights_without_data(loaded: Loaded, request: Request) -> Iterator[Finding]:
    """Meta, and no hook."""
    lost = loaded.without_data
    if lost and not loaded.sharded:
        where = f"{counted(len(lost), 'tensor')} of {len(loaded.parts)}"
        message = f"{where} on the meta device, without data, and no hook brings it: {_few([part.name for part in lost])}; a forward raises, or goes on with whatever lies in memory"
        yield _finding(
            "QVL851", message, "forward", Fix.display("Load the model by from_pretrained, outside of init_empty_weights()")
        )


def parts_on_several_devices(loaded: Loaded, request: Request) -> Iterator[Finding]:
    """Without hooks. A model whose own code moves its data is not known from one whose code does not: a warning."""
    places: dict[str, str] = {}
    for part in loaded.parts:
        if part.parameter and part.device != "meta":
            places.setdefault(part.device, part.name)
    if len(places) < 2 or loaded.hooked or loaded.sharded:
        return
    where = ", ".join(f"{name} on {device}" for device, name in places.items())
    message = f"parameters lie on {' and '.join(places)} ({where}), and no hook moves data between them"
    yield _finding("QVL852", message, "forward", Fix.display("Move the whole model to one device, or load it with a device_map"))


def kernel_refuses_training(loaded: Loaded, request: Request) -> Iterator[Finding]:
    """gptqmodel's kernels say themselves whether they train."""
    refusing = [layer for layer in loaded.layers if layer.trains is False]
    if not request.trains or not refusing:
        return
    first = refusing[0]
    text = (
        f"{first.class_name} is an inference-only CPU kernel."
        if "CpuAvx512" in first.class_name
        else f"{first.class_name}: `{first.name}` switching to training mode."
    )
    why = f"{counted(len(refusing), 'layer')} held by the {first.kernel} kernel, which is made for inference and refuses model.train()"
    raised = WillRaise("QVL801", Stage.STEP, "NotImplementedError", _beginning(text), "no-train", why, evidence=Evidence.RUN)
    how = "a kernel that trains" if loaded.quantized != "gptq" else 'GPTQConfig(bits=4, backend="auto_trainable")'
    yield _of_rule("QVL801", why, raised, Fix.display(f"Load it again with {how}"))


def _beginning(text: str) -> str:
    """gptqmodel quotes a layer by the name that it had when it was packed, which adapters change."""
    return text.partition(" `")[0] if "`" in text else text


def no_gradient(loaded: Loaded, request: Request) -> Iterator[Finding]:
    """auto-gptq's exllama layers, and adapters below them."""
    layers = [layer for layer in loaded.layers if layer.backend == "auto-gptq" and layer.kernel in _EXLLAMA]
    if not request.trains or not layers or not loaded.trained or isinstance(loaded.gradients, Gradients):
        return
    below = [part for part in loaded.trained if any(f".{name}." in f".{part.name}" for name in INNER)]
    if not below:
        return
    every = len(below) == len(loaded.trained)
    reach = (
        "no adapter receives a gradient"
        if every
        else f"{len(below)} of {len(loaded.trained)} trainable tensors receive no gradient"
    )
    message = f"training runs, but the {layers[0].kernel} kernel passes no gradient: {reach}"
    fix = Fix.display("Load it again with GPTQConfig(bits=4, use_exllama=False)")
    yield _of_rule("QVL802", message, None, fix, None if every else Severity.WARNING)


def nothing_to_train(loaded: Loaded, request: Request) -> Iterator[Finding]:
    """Of FSDP and ZeRO-3 the pieces tell."""
    if not request.trains or loaded.trained or not loaded.parts:
        return
    if loaded.adapters:
        why = f"the adapters are frozen ({', '.join(loaded.adapters)}), as everything else"
        fix = Fix.display("Load adapters with PeftModel.from_pretrained(model, folder, is_trainable=True)")
    else:
        quantized = f" of a model that is quantised ({loaded.quantized})" if loaded.quantized else ""
        why = f"no parameter{quantized} requires a gradient, and there are no adapters"
        fix = Fix.display("Attach adapters: peft.get_peft_model(model, LoraConfig(...))")
    text = "element 0 of tensors does not require grad and does not have a grad_fn"
    yield _finding(
        "QVL853", why, "train", fix, WillRaise("QVL853", Stage.STEP, "RuntimeError", text, "no-grad", why, evidence=Evidence.RUN)
    )


def float16_weights_with_fp16(loaded: Loaded, request: Request) -> Iterator[Finding]:
    """fp16=True on a GPU: the scaler takes no gradients in half precision (recorded)."""
    halves = [part for part in loaded.trained if part.dtype == "float16" and part.device.startswith("cuda")]
    trainer = request.trainer or {}
    if not halves or "fp16" not in request.computes_in or loaded.sharded or trainer.get("deepspeed") or trainer.get("fsdp"):
        return
    why = f"{counted(len(halves), 'trainable tensor')} in float16 ({_few([part.name for part in halves])}), and fp16=True scales gradients, which takes float32 weights"
    raised = WillRaise(
        "QVL810", Stage.STEP, "ValueError", "Attempting to unscale FP16 gradients.", "fp16-unscale", why, evidence=Evidence.RECORDED
    )
    yield _of_rule("QVL810", why, raised, Fix.display("Make what is trained float32, or train with bf16=True"))


def no_gradient_arrives(loaded: Loaded, request: Request) -> Iterator[Finding]:
    """What the small step showed."""
    found = loaded.gradients
    if not isinstance(found, Gradients) or found.arrived or not found.count:
        return
    exllama = next((layer for layer in loaded.layers if layer.backend == "auto-gptq" and layer.kernel in _EXLLAMA), None)
    message = f"one small step ran, and none of the {found.count} trainable tensors received a gradient: {_none(found)}"
    if exllama is None:
        fix = Fix.display("Choose a kernel that trains, or see to gradient checkpointing (the page says how)")
        # Made-up text may not reach what is trained, and then nothing comes back at all.
        unsure = found.made_up and not found.zero
        yield replace(_finding("QVL854", message, "train", fix), severity=Severity.WARNING if unsure else Severity.ERROR)
    else:
        message += f"; the {exllama.kernel} kernel passes none"
        yield _of_rule("QVL802", message, None, Fix.display("Load it again with GPTQConfig(bits=4, use_exllama=False)"))


def _none(found: Gradients) -> str:
    said = [f"{len(names)} {what}" for names, what in ((found.zero, "zero"), (found.missing, "missing")) if names]
    return ", ".join(said)


JUDGES: tuple[Judge, ...] = (
    weights_without_data,
    parts_on_several_devices,
    kernel_refuses_training,
    no_gradient,
    nothing_to_train,
    float16_weights_with_fp16,
    no_gradient_arrives,
)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _finding(code: str, message: str, stage: str, fix: Fix, raised: WillRaise | None = None) -> Finding:
    named = cause(code)
    return Finding(message, stage, raised, fix, Severity(named.severity), named.code, named.name, named.topic)


def _of_rule(code: str, message: str, raised: WillRaise | None, fix: Fix, severity: Severity | None = None) -> Finding:
    """Under the code of the rule that foresees it."""
    rule = find_rule(code)
    return Finding(message, "train", raised, fix, severity or rule.severity, code, rule.name, rule.topic)
