"""What LoraConfig takes, and what get_peft_model refuses of it whatever the model.

Sources: peft 0.4 to 0.21 tuners/lora/config.py (0.4, 0.5: tuners/lora.py), tuners/lora/model.py, tuners/lora/layer.py reset_lora_parameters. Run with 0.8.2,
0.18.0 and 0.21.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.lora import config
from qvl_preflight.unknown import Undecided
from qvl_preflight.versions import Evidence, parse

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

# field → (the last release read without it, the first read with it).
SINCE: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("alpha_pattern", "rank_pattern"), ("0.5.0", "0.6.2")),
    **dict.fromkeys(("loftq_config", "megatron_config", "megatron_core", "use_rslora"), ("0.6.2", "0.8.2")),
    "use_dora": ("0.8.2", "0.9.0"), "layer_replication": ("0.9.0", "0.10.0"), "runtime_config": ("0.11.1", "0.12.0"),
    **dict.fromkeys(("eva_config", "exclude_modules", "lora_bias"), ("0.13.2", "0.14.0")),
    **dict.fromkeys(("corda_config", "trainable_token_indices"), ("0.14.0", "0.15.2")),
    **dict.fromkeys(("use_qalora", "qalora_group_size"), ("0.15.2", "0.16.0")),
    "target_parameters": ("0.16.0", "0.17.1"),
    **dict.fromkeys(("alora_invocation_tokens", "arrow_config", "ensure_weight_tying"), ("0.17.1", "0.18.0")),
    **dict.fromkeys(("lora_ga_config", "use_bdlora"), ("0.18.0", "0.19.0")),
    **dict.fromkeys(("kasa_config", "monteclora_config", "velora_config"), ("0.19.0", "0.21.2")),
}  # fmt: skip
# The same for the names that init_lora_weights takes; the first releases looked at its truth alone.
STARTS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("gaussian", "loftq"), ("0.6.2", "0.8.2")), "pissa": ("0.10.0", "0.11.1"), "olora": ("0.11.1", "0.13.2"), "eva": ("0.13.2", "0.14.0"),
    "corda": ("0.14.0", "0.15.2"), "orthogonal": ("0.15.2", "0.16.0"), "lora_ga": ("0.18.0", "0.19.0"), "mica": ("0.19.0", "0.21.2"),
}  # fmt: skip
_UNSET: tuple[Any, ...] = (None, False, {}, [])  # what a field holds that nobody set: a live LoraConfig shows all of them


def made(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ADAPTERS: a field that this release does not have."""
    given, release = config(situation), situation.packages.release("peft")
    for name, value in (given or {}).items() if release else ():
        if name in SINCE and value not in _UNSET and not _there(release or (), *SINCE[name], f"LoraConfig has {name}"):
            text = f"LoraConfig.__init__() got an unexpected keyword argument '{name}'"
            why = f"peft {situation.packages.version('peft')} has no {name}: it came with {SINCE[name][1]}"
            yield WillRaise("QVL814", Stage.ADAPTERS, "TypeError", text, "lora-config", why, evidence=Evidence.RUN)
            return


def layers(situation: Situation) -> Iterator[WillRaise]:
    """layers_pattern without layers_to_transform (peft 0.14 to 0.21 tuners/lora/config.py __post_init__), and a dropout that is no probability."""
    given = config(situation) or {}
    if given.get("layers_pattern") and given.get("layers_to_transform") is None and situation.packages.at_least("peft", 0, 14):
        text, why = (
            "When `layers_pattern` is specified, `layers_to_transform` must also be specified.",
            "layers_pattern says nothing without layers_to_transform",
        )
        yield WillRaise("QVL814", Stage.ADAPTERS, "ValueError", text, "lora-config", why, evidence=Evidence.RUN)
    dropout = given.get("lora_dropout")
    if isinstance(dropout, (int, float)) and dropout > 1 and situation.packages.has("peft"):
        text, why = f"dropout probability has to be between 0 and 1, but got {dropout}", f"lora_dropout={dropout} is no probability"
        yield WillRaise("QVL814", Stage.ADAPTERS, "ValueError", text, "lora-dropout", why, evidence=Evidence.RUN)


def applied(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ADAPTERS: a start of the weights, or a kind of bias, that this release does not know."""
    given, release = config(situation), situation.packages.release("peft")
    if given is None or release is None or release < (0, 8):
        return
    yield from layers(situation)
    start, bias = given.get("init_lora_weights"), given.get("bias")
    if isinstance(start, str):
        name = start.lower().partition("_niter_")[0]
        if name not in STARTS or not _there(release, *STARTS[name], f"init_lora_weights takes {name}"):
            known = [each for each, (_, since) in STARTS.items() if release >= (parse(since) or ())]
            why = f'init_lora_weights="{start}" is none of {", ".join(known)}'
            text = f"Unknown initialization init_lora_weights='{start}'"
            yield WillRaise("QVL814", Stage.ADAPTERS, "ValueError", text, "lora-init", why, evidence=Evidence.RUN)
    if isinstance(bias, str) and bias not in ("none", "all", "lora_only"):
        why = f'bias="{bias}" is none of none, all, lora_only'
        text = f"Requested bias: {bias}, is not implemented."
        yield WillRaise("QVL814", Stage.ADAPTERS, "NotImplementedError", text, "lora-bias", why, evidence=Evidence.RUN)


def _there(release: tuple[int, ...], without: str, since: str, what: str) -> bool:
    """Does a release have it? Raises Undecided between the two that were read."""
    if release >= (parse(since) or ()):
        return True
    if release > (parse(without) or ()):
        raise Undecided(f"whether {what} in peft {'.'.join(map(str, release))} was not looked up")
    return False
