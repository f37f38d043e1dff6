"""bitsandbytes in memory: which layers it takes, and the bytes of one. Held against real loads (tests/reality/test_weights.py).

Layouts: bitsandbytes 0.41 to 0.50 functional.py quantize_4bit, nn/modules.py Linear8bitLt. Which layers: transformers 4.30 to 5.23
integrations/bitsandbytes.py, quantizers/base.py get_keys_to_not_convert, quantizers_utils.py should_convert_module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.unknown import Undecided

if TYPE_CHECKING:
    from qvl_preflight.memory.loader import Loader

BLOCK = 64  # weights that share one scale: bitsandbytes' default, which transformers leaves alone
NESTED = 256  # scales that share one, with double quantisation
CODES = {4: 16 * 4, 8: 256 * 4}  # the tables of values, float32, one for each layer (and one for its scales)
OFFSET = 4  # the mean of the scales, with double quantisation
HEADS = ("lm_head", "embed_out", "output")
_OF_STATE = re.compile(r"\.weight\.(absmax|quant_map|nested_absmax|nested_quant_map)$|\.SCB$")
_NO_MEMORY = re.compile(r"\.weight\.quant_state\.[\w.]+$|\.weight_format$")  # text, and the name of a format
_EXPERT = re.compile(r"\.experts\.\d+\.|\.gate\.weight$")
# Families whose experts are one tensor since transformers 5 (conversion_mapping.py, MergeModulelist), and their router no linear layer: they stay as they are.
_FUSED_SINCE_5 = (
    "mixtral", "minimax", "minimax_m2", "qwen2_moe", "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5_moe", "glm4_moe", "glm4_moe_lite", "glm4v_moe",
    "longcat_flash", "solar_open", "qwen3_moe", "qwen3_omni_moe", "qwen3_omni_moe_thinker", "qwen3_next", "hunyuan_v1_moe", "flex_olmo", "olmoe",
)  # fmt: skip
# Layers that stay in float32 where the rest is float16, or is quantised (modeling files, _keep_in_fp32_modules).
KEPT_IN_FLOAT32 = dict.fromkeys(("t5", "mt5", "umt5", "pop2piano", "udop"), "wo")


def extra_bytes(count: int, rows: int, bits: int, *, double: bool) -> int:
    """Scales and tables of one layer, beside its weight."""
    if bits == 8:
        return rows * 4  # one scale a row
    blocks = -(-count // BLOCK)
    if not double:
        return blocks * 4 + CODES[4]
    return blocks + -(-blocks // NESTED) * 4 + OFFSET + CODES[4] + CODES[8]


def left_alone(name: str, config: Mapping[str, Any], loader: Loader, model_type: object) -> bool:
    """Does the layer of this weight stay as it is? Raises Undecided."""
    if loader.transformers >= (5,) and _EXPERT.search(name):
        if model_type in _FUSED_SINCE_5:
            return True
        if ".experts." in name:
            raise Undecided(f"whether the experts of {model_type} are quantised")
    if name.removesuffix(".weight").rpartition(".")[2] == KEPT_IN_FLOAT32.get(str(model_type)):
        return True
    module, named = name.removesuffix(".weight"), config.get("llm_int8_skip_modules")
    if not isinstance(named, list):
        return any(part in HEADS for part in module.split("."))
    return any(_names(str(key), module, loader.transformers) for key in named)


def _names(key: str, module: str, release: tuple[int, ...]) -> bool:
    """Does an entry of llm_int8_skip_modules mean this layer?"""
    if release >= (5,):
        try:
            return re.match(rf"(?:{key})(?:(?<=\.)|(?=\.|$))", module) is not None or module.endswith(key)
        except re.error:
            raise Undecided(f"which layers llm_int8_skip_modules means by {key!r}") from None
    if module.rpartition(".")[2] == key:
        return True
    return f"{key}." in module or key == module if release >= (4, 41) else key in module


def keeps_full_weights(config: Mapping[str, Any]) -> bool:
    """8 bits with weights that stay as they are, for training them."""
    return config.get("load_in_8bit") is True and config.get("llm_int8_has_fp16_weight") is True


def is_state(name: str) -> bool:
    """A scale or table of a stored quantised weight, which lies in memory as it lies in the file."""
    return _OF_STATE.search(name) is not None


def is_description(name: str) -> bool:
    """What only tells how a stored weight is quantised."""
    return _NO_MEMORY.search(name) is not None
