"""What a step of a small Llama takes in the installed release of transformers, counted by the dispatcher of torch on tensors without memory; no GPU is needed.

usage: python scripts/count_step_memory.py      prints a row for tests/memory/test_releases.py for each kind of attention: forward pass, training
"""

from __future__ import annotations

import gc
import json
import weakref
from typing import Any

import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

SIZES = {
    "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32000,
    "max_position_embeddings": 2048, "tie_word_embeddings": False,
}  # fmt: skip
BATCH, LENGTH = 2, 768


class Alive(TorchDispatchMode):
    """Bytes of the storages that are alive, in blocks of 512 as the caching allocator has them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        key = storage._cdata
        if key not in self._known:
            self._known[key] = -(-storage.nbytes() // 512) * 512
            self.now += self._known[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self._known.pop(key)


class Grouped(torch.autograd.Function):
    """A flash kernel with fewer keys than queries, as a GPU has one: it keeps what goes in, what comes out, and a float32 for each row and head."""

    @staticmethod
    def forward(ctx: Any, queries: Any, keys: Any, values: Any) -> Any:
        out, sums = torch.empty_like(queries), torch.empty(queries.shape[:3], dtype=torch.float32)
        ctx.save_for_backward(queries, keys, values, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return tuple(torch.empty_like(one) for one in ctx.saved_tensors[:3])


_CPU = torch.nn.functional.scaled_dot_product_attention


def attention(queries: Any, keys: Any, values: Any, **kwargs: Any) -> Any:
    """scaled_dot_product_attention with that kernel."""
    if kwargs.pop("enable_gqa", False) and keys.shape[1] != queries.shape[1]:
        return Grouped.apply(queries, keys, values)
    return _CPU(queries, keys, values, **kwargs)


def counted(kind: str) -> tuple[int, int]:
    """Bytes over the weights at the worst moment of a forward pass, and of a training step with its gradients."""
    with FakeTensorMode(allow_non_fake_inputs=True), Alive() as alive:
        torch.set_default_dtype(torch.bfloat16)
        config = transformers.LlamaConfig(**SIZES)
        config._attn_implementation = kind
        model = transformers.LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
        tokens = torch.zeros(BATCH, LENGTH, dtype=torch.long)
        gc.collect()
        before = alive.peak = alive.now
        with torch.no_grad():
            model.eval()(input_ids=tokens)
        forward = alive.peak - before
        model.train().config.use_cache = False
        gc.collect()
        before = alive.peak = alive.now
        model(input_ids=tokens, labels=tokens).loss.backward()
        return forward, alive.peak - before


if __name__ == "__main__":
    torch.nn.functional.scaled_dot_product_attention = attention
    for name in ("sdpa", "eager"):
        print(json.dumps([transformers.__version__, name, *counted(name)]))
