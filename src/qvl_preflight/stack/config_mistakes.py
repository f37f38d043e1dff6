"""What config.json says that the files beside it, or the classes that read it, do not go with.

Run on a CPU with 4.37.2, 4.57.1 and 5.23.0, by AutoModelForCausalLM and by LlamaForCausalLM.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.auto_classes import by_auto_class
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation
    from qvl_preflight.safetensors import Tensor

_SLIPS = ("bf16", "fp16", "fp32", "fp64", "f16", "f32", "auto")  # names that torch has nothing of
# Models whose embeddings are model.embed_tokens.weight, vocab_size × hidden_size of config.json itself.
_FAMILIES = (
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "gemma",
    "gemma2",
    "phi3",
    "olmo",
    "starcoder2",
)
_EMBEDDINGS = "model.embed_tokens.weight"
_MISMATCH: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.37", "4.38", ("RuntimeError", "Error(s) in loading state_dict for"), Evidence.RUN, "transformers 4.37.2 modeling_utils.py"),
    Row("4.57", "5.0", ("RuntimeError", "Error(s) in loading state_dict for"), Evidence.RUN, "transformers 4.57.1 modeling_utils.py"),
    Row("5.0", None, ("RuntimeError", "You set `ignore_mismatched_sizes` to `False`, thus raising an error."), Evidence.RUN, "transformers 5.23.0"),
)  # fmt: skip
_ON_META = ("ValueError", "Trying to set a tensor of shape torch.Size(")  # 4.37.2, with a device_map or low_cpu_mem_usage=True


def dtype_named(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: a dtype in config.json that torch has nothing of. An Auto class of 5.x that is passed one never looks at it."""
    kwargs, config = situation.request.kwargs, situation.checkpoint.config
    since = situation.packages.at_least("transformers", 4, 56)
    key = "dtype" if since and config.get("dtype") is not None else "torch_dtype"
    named = config.get(key)
    if not isinstance(named, str) or kwargs.get("config") is not None or situation.packages.release("transformers") is None:
        return
    if named.lower() not in _SLIPS and not named.startswith("torch."):
        return
    passed = kwargs.get("dtype", kwargs.get("torch_dtype"))
    if passed not in (None, "auto") and situation.packages.at_least("transformers", 5) and by_auto_class(situation):
        return
    meant = named.removeprefix("torch.")
    why = f'config.json says "{key}": "{named}", and torch has no attribute of that name'
    if meant != named:
        why += f'; "{meant}" is how it is written there'
    text = f"module 'torch' has no attribute '{named}'"
    yield WillRaise("QVL902", Stage.CONFIG, "AttributeError", text, "dtype", why, evidence=Evidence.RUN)


def bits(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: the stored settings of a GPTQ checkpoint without their number of bits, which GPTQConfig asks for."""
    stored = situation.checkpoint.quantization
    if (
        stored is None
        or stored.get("quant_method") != "gptq"  # as it is written: another spelling is no method
        or "bits" in stored
        or situation.request.kwargs.get("config") is not None
    ):
        return
    if not situation.packages.at_least("transformers", 4, 37):
        return
    text = "GPTQConfig.__init__() missing 1 required positional argument: 'bits'"
    why = "quantization_config in config.json names no bits, without which GPTQConfig cannot be made"
    yield WillRaise("QVL304", Stage.CONFIG, "TypeError", text, "gptq-numbers", why, evidence=Evidence.RUN)


def shapes(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: embeddings of another shape than the configuration gives them."""
    kwargs, config, weights = situation.request.kwargs, situation.checkpoint.config, situation.checkpoint.weights
    if isinstance(weights, Unknown) or config.get("model_type") not in _FAMILIES or not by_auto_class(situation):
        return
    own_way = any(kwargs.get(name) for name in ("config", "ignore_mismatched_sizes", "trust_remote_code", "tp_plan", "state_dict"))
    quantized = situation.checkpoint.quantization is not None or any(
        kwargs.get(name) for name in ("quantization_config", "load_in_4bit", "load_in_8bit")
    )
    if own_way or quantized:
        return
    sizes = tuple(kwargs.get(name, config.get(name)) for name in ("vocab_size", "hidden_size"))
    found = _embeddings(weights.tensors)
    if found is None or not all(type(size) is int for size in sizes) or found.shape == sizes:
        return
    row = _MISMATCH.row(situation.packages)
    lazily = kwargs.get("device_map") is not None or kwargs.get("low_cpu_mem_usage")
    kind, text = _ON_META if lazily and not situation.packages.at_least("transformers", 4, 38) else row.value
    by = "the call" if {"vocab_size", "hidden_size"} & set(kwargs) else "config.json"
    why = f"{_EMBEDDINGS} is {_times(found.shape)}, and vocab_size and hidden_size of {by} make it {_times(sizes)}"
    yield WillRaise("QVL916", Stage.MATERIALISE, kind, text, "shape", why, evidence=row.evidence)


def _embeddings(tensors: tuple[Tensor, ...]) -> Tensor | None:
    return next((tensor for tensor in tensors if tensor.name == _EMBEDDINGS), None)


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
