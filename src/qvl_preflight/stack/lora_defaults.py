"""The kinds of model for which peft knows which layers to adapt, where target_modules is not given.

Source: TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING in peft 0.4.0 to 0.21.2 utils/other.py, utils/constants.py. Run: llama and qwen2 with 0.8.2,
llama, qwen2 and cohere with 0.21.2.
"""

from __future__ import annotations

# Seen first in this release, and not in the one read before it: what lies between the two is not known.
_SINCE: tuple[tuple[tuple[int, int], tuple[int, int], str], ...] = (
    ((0, 4), (0, 4), "bart bert blip-2 bloom chatglm deberta deberta-v2 electra gpt2 gpt_bigcode gpt_neo gpt_neox gptj layoutlm llama mpt mt5 opt roberta t5 xlm-roberta"),
    ((0, 5), (0, 5), "RefinedWeb RefinedWebModel btlm codegen falcon"),
    ((0, 6), (0, 6), "mistral stablelm"),
    ((0, 7), (0, 8), "mixtral phi"),
    ((0, 9), (0, 9), "gemma"),
    ((0, 12), (0, 12), "qwen2"),
    ((0, 13), (0, 13), "gemma2"),
    ((0, 16), (0, 16), "gemma3_text llama4 qwen3"),
    ((0, 18), (0, 18), "rwkv rwkv7"),
    ((0, 19), (0, 19), "gemma4"),
    ((0, 20), (0, 21), "nemotron_h"),
)  # fmt: skip
_NEWEST = (0, 22)


def maps(model: str, release: tuple[int, ...]) -> bool | None:
    """Does this peft know which layers to adapt? None where it is not known."""
    for absent_before, present_from, names in _SINCE:
        if model in names.split():
            return True if release >= present_from else False if release < absent_before else None
    return False if release < _NEWEST else None
