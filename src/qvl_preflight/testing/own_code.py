"""Checkpoints with code of their own, by name: tiny ones, each with one thing about its imports."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from qvl_preflight.testing.files import write_checkpoint

_CONFIGURATION = """
from transformers import PretrainedConfig

class TinyConfig(PretrainedConfig):
    model_type = "tiny"
"""
_MODELING = """
import torch
from torch import nn
from transformers import PreTrainedModel
{imports}
from .configuration_tiny import TinyConfig

class TinyForCausalLM(PreTrainedModel):
    config_class = TinyConfig
    _no_split_modules = []

    def __init__(self, config):
        super().__init__(config)
        self.lin = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.post_init()

    def _init_weights(self, module):
        pass

    def forward(self, hidden):
        return self.lin(hidden)
"""
CONFIG: dict[str, Any] = {
    "architectures": ["TinyForCausalLM"], "model_type": "tiny", "hidden_size": 8, "num_hidden_layers": 1, "torch_dtype": "float16",
    "auto_map": {"AutoConfig": "configuration_tiny.TinyConfig", "AutoModelForCausalLM": "modeling_tiny.TinyForCausalLM"},
}  # fmt: skip


def write_own_code(folder: str, imports: str = "", config: Mapping[str, Any] = CONFIG, **files: str) -> None:
    """A tiny checkpoint whose modeling file holds ``imports``; ``files``: more modules beside it."""
    write_checkpoint(folder, config, [{"lin.weight": ("F16", (8, 8))}])
    modules = {"configuration_tiny": _CONFIGURATION, "modeling_tiny": _MODELING.replace("{imports}", imports), **files}
    for name, text in modules.items():
        with open(os.path.join(folder, f"{name}.py"), "w", encoding="utf-8") as file:
            file.write(text)


def _needs_einops(folder: str, layers: int) -> None:
    """Imports a package that not everybody has."""
    write_own_code(folder, "from einops import rearrange")


def _asks_for_gone_names(folder: str, layers: int) -> None:
    """Written for transformers 4.37."""
    write_own_code(folder, "from transformers.modeling_utils import find_pruneable_heads_and_indices")


def _plain(folder: str, layers: int) -> None:
    write_own_code(folder)


def _deep_imports(folder: str, layers: int) -> None:
    """Imports a file that imports another."""
    write_own_code(folder, "from .helper import *", helper="from .deep import *\n", deep="")


def _named_imports(folder: str, layers: int) -> None:
    """Imports that other file itself as well."""
    write_own_code(folder, "from .helper import *\nfrom .deep import *", helper="from .deep import *\n", deep="")


OWN_CODE: Mapping[str, Callable[[str, int], None]] = {
    "own/needs-einops": _needs_einops,
    "own/asks-for-gone-names": _asks_for_gone_names,
    "own/deep-imports": _deep_imports,
    "own/named-imports": _named_imports,
    "own/Tiny-2.5": _plain,
    "own/Tiny-2_5": _plain,
}
