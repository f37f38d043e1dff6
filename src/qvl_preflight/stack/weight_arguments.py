"""Arguments that name other weights than those of the checkpoint: state_dict, gguf_file, from_tf and from_flax.

Run on a CPU with 4.37.2, 4.57.1 and 5.23.0, by AutoModelForCausalLM and by LlamaForCausalLM.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.versions import Evidence

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_OTHERS = (("from_tf", "tensorflow", "a model of TensorFlow"), ("from_flax", "jax", "a model of Flax"))


def weight_arguments(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ARGUMENTS: a state_dict beside a model's name, refused since 4.50 (modeling_utils.py); a GGUF file that is not in the folder."""
    kwargs, packages, checkpoint = situation.request.kwargs, situation.packages, situation.checkpoint
    if kwargs.get("state_dict") is not None and packages.at_least("transformers", 4, 50):
        text = "`state_dict` cannot be passed together with a model name or a `gguf_file`."
        why = "a state_dict is passed beside the name of a model: from_pretrained takes one or the other (None for the name)"
        yield WillRaise("QVL918", Stage.ARGUMENTS, "ValueError", text, "weight-arguments", why, evidence=Evidence.RUN)
    name = kwargs.get("gguf_file")
    if isinstance(name, str) and os.path.isdir(situation.request.model) and packages.at_least("transformers", 4, 41):
        folder = os.path.join(checkpoint.path, str(kwargs.get("subfolder") or ""))
        if os.path.isdir(folder) and not os.path.exists(os.path.join(folder, name)):
            there = sorted(file for file in os.listdir(folder) if file.endswith(".gguf"))
            why = f"the folder holds no {name}" + (f"; there is {', '.join(there[:3])}" if there else " and no other .gguf")
            text = f"{situation.request.model} does not appear to have a file named {name}."
            evidence = Evidence.RUN if packages.at_least("transformers", 4, 57) else Evidence.SOURCE
            yield WillRaise("QVL918", Stage.CONFIG, "OSError", text, "weight-arguments", why, evidence=evidence)


def other_frameworks(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: from_tf, from_flax without what reads such weights. 5.x reads neither argument."""
    packages = situation.packages
    asked = [entry for entry in _OTHERS if situation.request.kwargs.get(entry[0]) is True]
    if not asked or draft.failed("weights") or packages.at_least("transformers", 5):
        return
    for name, package, what in asked:
        if packages.has("transformers") and not packages.has(package):
            text, why = f"No module named '{package}'", f"{name}=True asks for {what}, and {package} is not installed"
            yield WillRaise(
                "QVL918", Stage.MATERIALISE, "ModuleNotFoundError", text, "weight-arguments", why, evidence=Evidence.RUN
            )
            return
