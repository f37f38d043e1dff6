"""Between what and what a step lies whose operations were not read.

At least: the weights, and for full fine-tuning their gradients and the optimizer's states, which are all there at the end of a step. At most: a decoder of
these sizes that keeps everything, in float32 where something might be, with eager attention and no checkpointing. None where not even that can be said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qvl_preflight.memory import simulate
from qvl_preflight.memory.allocator import whole
from qvl_preflight.memory.decoder import Step
from qvl_preflight.memory.layers import Layers
from qvl_preflight.memory.parts import parts
from qvl_preflight.memory.shape import Shape
from qvl_preflight.memory.tape import FLOAT
from qvl_preflight.memory.weights import WIDTHS
from qvl_preflight.unknown import Undecided

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qvl_preflight.memory.asked import Asked
    from qvl_preflight.memory.weights import Stored
    from qvl_preflight.plan import Quantization
    from qvl_preflight.unknown import Unknown

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads")
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size", "encoder_ffn_dim", "decoder_ffn_dim")
_TABLES = 2**20  # of positions
_SCANS = re.compile(r"mamba|jamba|bamba|zamba|rwkv|xlstm|recurrent|retnet|hyena|falcon_h1|nemotron_h|hybrid|qwen3_next|lfm|minimax")
_QUERIES = re.compile(r"(q_proj|query|c_attn|qkv|query_key_value|qkv_proj|Wqkv)\.weight$")
_STATES = (
    "state_size",
    "ssm_state_size",
    "mamba_d_state",
    "ssm_cfg",
    "attention_hidden_size",
)  # layers without attention: scans may keep more


def bounds(
    config: Mapping[str, Any], weights: int, stored: Sequence[Stored], width: int, quantization: Quantization | Unknown | None, asked: Asked, workspace: int
) -> tuple[int, int | None] | None:  # fmt: skip
    """The range of the peak; None where the step would not run at all."""
    quantised = quantization is not None
    if quantised and asked.method == "full":
        return None
    try:
        least = _least(weights, stored, asked)
    except Undecided:
        return weights, None
    try:
        return least, _most(config, weights, stored, width, asked, workspace, quantised=quantised)
    except Undecided:
        return least, None


def _least(weights: int, stored: Sequence[Stored], asked: Asked) -> int:
    if asked.method != "full":
        return weights
    held = parts(stored, asked, 0, prepares=False)
    return weights + held.gradients + held.states


def _most(
    config: Mapping[str, Any], weights: int, stored: Sequence[Stored], width: int, asked: Asked, workspace: int, *, quantised: bool
) -> int:
    shape = _no_narrower(largest(config), stored)
    if asked.images or any(key in config for key in _STATES) or _SCANS.search(str(config.get("model_type"))):
        raise Undecided("what images, or layers without attention, take")
    step = Step(
        asked.batch, asked.length, eager=True, cache=asked.cache, wide_logits=asked.method is None, shifted=True, repeats=True
    )
    rank = asked.rank if asked.method == "lora" else 0
    # either may keep more: a stream in float32, or one in half precision of which norms make copies
    ways = [
        Layers(width, "unpacked" if quantised else "plain", norm, rank, None, asked.method == "full") for norm in (width, FLOAT)
    ]
    tokens = whole(step.tokens * 8) + _TABLES
    if asked.method is None:
        cached = simulate.cache_bytes(replace(shape, keys=shape.queries), ways[0], step, asked.new_tokens)
        return weights + max(simulate.forward(shape, how, step).peak for how in ways) + cached + tokens + workspace
    amp = max(WIDTHS["float16"], width) if asked.amp else 0
    found = [simulate.training(shape, how, step, amp, reentrant=False) for how in ways]
    held = parts(stored, asked, found[0].adapters, prepares=quantised)
    most = max(*(one.peak for one in found), held.gradients + held.scratch)
    return weights + held.adapters + held.prepared + held.states + most + tokens + 2 * workspace


def largest(config: Mapping[str, Any]) -> Shape:
    """A decoder that is no smaller than the one that config.json describes, in anything that a step keeps. Raises Undecided."""
    text = config.get("text_config") or config.get("llm_config")
    if isinstance(text, Mapping):
        config = text
    layers = _first(config, _LAYERS, None) if not config.get("encoder_layers") else 0
    both = [config.get(key) for key in ("encoder_layers", "decoder_layers")]
    layers += sum(one for one in both if isinstance(one, int))
    hidden, heads = _first(config, _HIDDEN, None), _first(config, _HEADS, None)
    head = max(_first(config, ("head_dim", "kv_channels"), 0), -(-hidden // heads))
    inner = max([4 * hidden] + [_first(config, (key,), 0) for key in _INNER])
    chosen = max(_first(config, (key,), 0) for key in ("num_experts_per_tok", "moe_topk", "top_k_experts", "num_experts_per_token"))
    if chosen:
        shared = 1 + _first(config, ("n_shared_experts", "num_shared_experts"), 1)
        inner = max(inner, (chosen + shared) * _first(config, ("moe_intermediate_size", "expert_ffn_hidden_size"), inner))
    queries = max(heads * head, hidden)
    # half as many keys, which eager attention repeats: more than as many, or fewer
    shape = Shape("", layers, hidden, inner, heads, queries, -(-queries // 2), _first(config, ("vocab_size",), None))
    return replace(shape, head_norms=True, one_plus=True, post_norms=True, scaled=True, attention_cap=True, logit_cap=True)


def _no_narrower(shape: Shape, stored: Sequence[Stored]) -> Shape:
    """Where config.json leaves a head's size to the class, the weights tell it."""
    queries = max((one.count // shape.hidden for one in stored if one.dtype in WIDTHS and _QUERIES.search(one.name)), default=0)
    queries = max(shape.queries, queries)
    return replace(shape, queries=queries, keys=-(-queries // 2))


def _first(config: Mapping[str, Any], keys: tuple[str, ...], default: int | None) -> int:
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**32:
            return value
    if default is None:
        raise Undecided(f"{keys[0]} of config.json")
    return default
