"""A class of transformers that is called for the checkpoint of another model.

Sources: transformers 4.28 to 5.23 configuration_utils.py from_pretrained. Run with nine architectures, each class on the checkpoints of all others, on 4.37.2,
4.57.1 and 5.23.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qvl_preflight.auto_tables import tables

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation

# Types whose models have the same weights and compute the same with them: a class of one loads a checkpoint of the other as it should.
_ALIKE = (("llama", "mistral", "ministral"), ("t5", "mt5"), ("bart", "plbart"), ("roberta", "xlm-roberta", "camembert"))


def of_another_model(situation: Situation) -> tuple[str, tuple[str, ...]] | None:
    """The checkpoint's model type and those of the class, where a class of transformers that generates is called for another model's checkpoint."""
    loader, config = situation.request.loader or "", situation.checkpoint.config
    kwargs, model_type = situation.request.kwargs, config.get("model_type")
    if not loader.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) or tables().is_auto(loader):
        return None
    if kwargs.get("config") is not None or kwargs.get("gguf_file") is not None or not isinstance(model_type, str):
        return None
    types = tables().types_of(loader)
    parts = [part.get("model_type") for part in config.values() if isinstance(part, Mapping)]  # a tower of the checkpoint
    alike = any(model_type in group and {*types} & {*group} for group in _ALIKE)
    if not types or not tables().is_type(model_type) or model_type in types or {*parts} & {*types} or alike:
        return None
    return model_type, types
