"""For tests of scripts and rules: machines by name, stacks by name, and checkpoints with true headers and empty bodies.

facts = machine("a100", stack="legacy")
folder = checkpoint("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", tmp_path)
report = qvl_preflight.check(folder, facts=facts, device_map="auto")
"""

from qvl_preflight.testing.checkpoints import CHECKPOINTS, QWEN_VL, checkpoint, qwen_block
from qvl_preflight.testing.files import Tensors, gptq_linear, write_checkpoint, write_safetensors
from qvl_preflight.testing.hardware import HARDWARE
from qvl_preflight.testing.machines import machine
from qvl_preflight.testing.stacks import STACKS

__all__ = [
    "CHECKPOINTS", "HARDWARE", "QWEN_VL", "STACKS", "Tensors", "checkpoint", "gptq_linear", "machine", "qwen_block", "write_checkpoint",
    "write_safetensors",
]  # fmt: skip
