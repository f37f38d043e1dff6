"""flash-attn whose compiled part does not load: which releases of transformers meet it, and where.

Up to 4.54 it is imported where a GPU is visible, whatever attention is asked for; from 4.55 on where it is asked for.

Sources: transformers 4.34.1 to 4.47.1 models/*/modeling_*.py and modeling_flash_attention_utils.py, 4.48.3 to 4.54.1 modeling_utils.py and
integrations/flash_paged.py, 4.55.4 to 5.23.0 modeling_flash_attention_utils.py. Run on 4.36.2, 4.37.2, 4.41.2, 4.43.4, 4.46.3, 4.48.3, 4.51.3, 4.53.3, 4.54.1,
4.55.4, 4.57.1, 5.0.0, 5.5.0, 5.10.0, 5.17.0 and 5.23.0 with an extension that asks for a name which torch lacks (torch.cuda.is_available was made to
answer True).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import cuda
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation

MODULE = "flash_attn_2_cuda"
_SYMBOL = f"…/{MODULE}….so: undefined symbol"
_FAILED = (
    "Failed to import transformers.models.{folder}.modeling_{folder} because of the following error (look up to see its traceback)"
)
# What imports it without being asked: the modules of some models, then modeling_utils, then nothing.
_IMPORTS: ByRelease[tuple[str, str, str]] = ByRelease(
    "transformers",
    Row("4.34", "4.48", ("RuntimeError", _FAILED, "models"), Evidence.RUN, "transformers 4.37.2 models/llama/modeling_llama.py:55"),
    Row("4.48", "4.53", ("RuntimeError", _FAILED, "all"), Evidence.RUN, "transformers 4.51.3 modeling_utils.py:48"),
    Row("4.53", "4.55", ("ImportError", _SYMBOL, "all"), Evidence.RUN, "transformers 4.54.1 integrations/flash_paged.py:8"),
    Row("4.55", None, ("ImportError", _SYMBOL, "asked"), Evidence.RUN, "transformers 4.57.1 modeling_flash_attention_utils.py:83"),
)
# The models whose module imports flash-attn at its top, by the release that began it (models/*/modeling_*.py).
_MODELS = {
    (4, 34): "falcon llama mistral",
    (4, 35): "bart gpt_bigcode mbart whisper",
    (4, 36): "bark distilbert gpt_neo gpt_neox mixtral opt phi",
    (4, 37): "qwen2",
    (4, 38): "gemma stablelm",
    (4, 39): "cohere gptj starcoder2",
    (4, 40): "dbrx gpt2 idefics2 jamba m2m_100 musicgen musicgen_melody olmo qwen2_moe",
    (4, 41): "data2vec hubert jetmoe paligemma phi3 sew unispeech unispeech_sat wav2vec2",
    (4, 42): "gemma2",
    (4, 43): "chameleon clip siglip",
    (4, 44): "nemotron",
    (4, 45): "granite granitemoe mimi olmoe qwen2_audio qwen2_vl",
    (4, 46): "glm idefics3 moshi phimoe zamba",
    (4, 47): "olmo2",
}


def load(situation: Situation, asked: str | None) -> Iterator[WillRaise]:
    """MODEL: flash-attn is imported, and the loader finds no such name in torch. ``asked``: the attention implementation of the call."""
    if (
        situation.packages.release("flash-attn") is None
        or situation.facts.extension(MODULE) is not False
        or cuda.refusal(situation) is not None
    ):
        return
    row = _IMPORTS.row(situation.packages)
    type_, text, by = row.value
    folder = str(situation.checkpoint.config.get("model_type", "")).replace("-", "_")
    if (by == "models" and not _imported_by(situation, folder)) or (by == "asked" and asked != "flash_attention_2"):
        return
    why = "the installed flash-attn is compiled for another torch: its library asks for names that this one does not define"
    if asked != "flash_attention_2":
        why += "; this transformers imports it although the call does not ask for it"
    yield WillRaise("QVL937", Stage.MODEL, type_, text.format(folder=folder), "attention", why, evidence=row.evidence)


def _imported_by(situation: Situation, folder: str) -> bool:
    """Own code that is not in transformers imports what it likes, and is not judged here."""
    release = situation.packages.release("transformers") or (0,)
    return any(folder in names.split() for since, names in _MODELS.items() if since <= release)
