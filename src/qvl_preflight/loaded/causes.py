"""What only a loaded model shows: codes, names and pages. Other findings about one carry the code of the rule that foresees them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadedCause:
    """One cause, with its page."""

    code: str
    name: str
    topic: str
    severity: str
    summary: str
    happens: str
    fix: str

    @property
    def page(self) -> str:
        """As `explain` prints it."""
        return (
            f"# {self.name} ({self.code})\n\nSeverity: {self.severity} · Topic: {self.topic} · found in a loaded model, by `check(model)`\n\n"
            f"{self.summary}\n\n## What happens\n{self.happens}\n\n## What to do\n{self.fix}"
        )


CAUSES = (
    LoadedCause(
        "QVL851", "weights-without-data", "meta-tensor", "error", "Parameters or buffers lie on the meta device, and nothing will bring their data.",
        "They have a shape and no values, and a forward through them raises, or goes on with whatever lies in memory (seen on the CPU): `init_empty_weights()` or `torch.device(\"meta\")` was in force, or a load stopped half-way. Weights that accelerate\n"
        "offloaded to the CPU or the disk also show `meta`; their hooks bring them, and they are not meant here.",
        "Load the model by from_pretrained, outside of any such context; check that every shard is there.",
    ),
    LoadedCause(
        "QVL852", "parts-on-several-devices", "multi-gpu-split", "warning", "Parameters lie on several devices, and no hook moves the data between them.",
        "A forward that joins them raises `RuntimeError: Expected all tensors to be on the same device`, unless the model's own code moves its inputs.\n"
        "Mostly a part was moved by itself, or adapters were added while the model was elsewhere.",
        "Move the whole model, `model.to(\"cuda:0\")`, or load it with a device_map: accelerate's hooks then move the data.",
    ),
    LoadedCause(
        "QVL853", "nothing-to-train", "silent-no-gradient", "error", "The model is to be trained, and no parameter of it requires a gradient.",
        "The first step raises `RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn`. `PeftModel.from_pretrained` freezes the\n"
        "adapters that it loads unless it is told otherwise.",
        "`PeftModel.from_pretrained(model, folder, is_trainable=True)` for adapters that are to be trained further; `get_peft_model` for new ones.",
    ),
    LoadedCause(
        "QVL854", "no-gradient-arrives", "silent-no-gradient", "error", "A small step was made, and no trainable parameter received a gradient.",
        "The forward and the backward ran, and every gradient is zero or missing: training would go on and change nothing. Kernels that compute outside of\n"
        "autograd do this, as does gradient checkpointing over frozen embeddings.",
        "Choose a kernel that trains; with gradient checkpointing call `model.enable_input_require_grads()`, or pass `use_reentrant=False`.",
    ),
)  # fmt: skip


def cause(code: str) -> LoadedCause:
    """The cause of a code."""
    return next(each for each in CAUSES if each.code == code)
