"""The class whose from_pretrained is called, by its name."""

from __future__ import annotations

import json
import re

from qvl_preflight.exceptions import InputError

# Auto classes of what lies beside the weights.
_NO_MODELS = ("AutoConfig", "AutoTokenizer", "AutoProcessor", "AutoImageProcessor", "AutoFeatureExtractor", "AutoVideoProcessor")


def class_name(loader: str | type) -> str:
    """The bare name: ``transformers.AutoModel`` and ``modelscope.AutoModel`` are written as well. Raises InputError."""
    name = loader if isinstance(loader, str) else loader.__name__
    name = re.sub(r"^(transformers|modelscope)\.([\w.]*\.)?", "", name.strip())
    if name in _NO_MODELS:
        raise InputError(f"loader is {name}, which loads no model; expected the class that does (AutoModelForCausalLM …)")
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(
            f"loader is {json.dumps(name, ensure_ascii=False)}; expected the name of a class, such as AutoModelForCausalLM"
        )
    return name


def hub_of(loader: str | type | None) -> str:
    """modelscope's own classes wrap those of transformers, under the same names; in text ``modelscope.AutoModel``."""
    module = loader if isinstance(loader, str) else getattr(loader, "__module__", "")
    return "modelscope" if str(module).split(".")[0] == "modelscope" else "huggingface"
