"""Values of config.json, or of the call in their place, with which a class of transformers cannot be made.

Run on a CPU with 4.37.2, 4.57.1 and 5.23.0, over a tiny checkpoint of each family by AutoModelForCausalLM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.missing import MISSING
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.request import show
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_SINCE_437 = ("llama", "qwen2", "mistral", "mixtral")
_FAMILIES = (*_SINCE_437, "gemma2", "phi3", "olmo", "starcoder2", "qwen3", "qwen2_moe", "stablelm", "granite", "cohere")
# Every kind of RoPE that some release takes, the models' own among them.
_ROPES = ("default", "linear", "dynamic", "yarn", "longrope", "llama3", "su", "mrope", "proportional", "ntk", "axial", "3d")
_TEXT: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.37", "5.0", ("TypeError", "empty(): argument"), Evidence.RUN, "transformers 4.37.2, 4.57.1"),
    Row("5.23", None, ("StrictDataclassFieldValidationError", "Validation "), Evidence.RUN, "transformers 5.23.0"),
)  # fmt: skip


def config_values(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MODEL: no heads, a RoPE that no release has, a size that is text."""
    family, kwargs = situation.checkpoint.config.get("model_type"), situation.request.kwargs
    release = situation.packages.release("transformers")
    if release is None or family not in _FAMILIES or kwargs.get("config") is not None or kwargs.get("trust_remote_code"):
        return
    if release < (4, 37) or (family not in _SINCE_437 and release < (4, 57)) or any(map(draft.failed, ("class", "model-type"))):
        return
    yield from _heads(situation, str(family), release)
    yield from _rope(situation, str(family), release)
    size = _value(situation, "hidden_size")
    if isinstance(size, str):
        row, why = _TEXT.row(situation.packages), f'hidden_size is the text "{size}", and no number'
        yield WillRaise("QVL917", Stage.MODEL, *row.value, "config-value", why, evidence=row.evidence)


def _value(situation: Situation, name: str) -> Any:
    return situation.request.kwargs.get(name, situation.checkpoint.config.get(name, MISSING))


def _heads(situation: Situation, family: str, release: tuple[int, ...]) -> Iterator[WillRaise]:
    for name in ("num_attention_heads", "num_key_value_heads"):
        given = _value(situation, name)
        by_itself = family == "mistral" and name == "num_attention_heads" and release >= (5,)  # has sizes of its own: goes on
        if type(given) is int and given == 0 and not by_itself:
            why = f"{name} is 0, by which the size of a head is divided"
            yield WillRaise("QVL917", Stage.MODEL, "ZeroDivisionError", "", "config-value", why, evidence=Evidence.RUN)
            return


def _rope(situation: Situation, family: str, release: tuple[int, ...]) -> Iterator[WillRaise]:
    """`rope_type`, or `type` as it was called: looked up by its name since 4.57 at the latest; Llama of 4.37 compares both fields."""
    name = "rope_parameters" if release >= (5,) and isinstance(_value(situation, "rope_parameters"), Mapping) else "rope_scaling"
    given = _value(situation, name)
    kind = given.get("rope_type", given.get("type")) if isinstance(given, Mapping) else None
    if not isinstance(kind, str) or kind in _ROPES or (family in ("phi3", "olmo")):
        return
    why = f"{name}={show(given)} names a kind of RoPE that no release has"
    if release >= (4, 57):
        yield WillRaise("QVL917", Stage.CONFIG, "KeyError", f"'{kind}'", "config-value", why, evidence=Evidence.RUN)
    elif family == "llama" and release[:2] == (4, 37):
        yield WillRaise("QVL917", Stage.CONFIG, "ValueError", "`rope_scaling`", "config-value", why, evidence=Evidence.RUN)
