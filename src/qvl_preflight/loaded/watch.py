"""Watches the first steps of a training: which gradients arrive, on which batch, how much memory the GPU needed. Reads; changes nothing.

Up to transformers 4.4x the gradients are gone when a callback is called, so each trainable tensor gets a hook of torch for the first steps. Nothing that a hook
meets may reach the training.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from qvl_preflight.loaded.look import unwrapped
from qvl_preflight.loaded.record import Gradients


class Watch:
    """Hooks on the trainable tensors, and on the model's forward where a GPU is in use. `end` takes them away."""

    def __init__(self, model: Any, *, shapes: bool) -> None:
        self.shape: tuple[int, int] | None = None  # batch and sequence of the first forward
        self._largest: dict[str, Any] = {}
        self._names: list[str] = []
        self._handles: list[Any] = []
        inner = unwrapped(model)
        for name, parameter in inner.named_parameters():
            if parameter.requires_grad:
                self._names.append(name)
                self._handles.append(parameter.register_hook(self._seeing(name)))
        if shapes:
            self._handles.append(inner.register_forward_pre_hook(self._shape, with_kwargs=True))

    def _seeing(self, name: str) -> Any:
        """Keeps one number a tensor on its device: reading it would wait for the GPU."""

        def see(gradient: Any) -> None:
            try:
                largest, before = gradient.detach().abs().amax(), self._largest.get(name)
                self._largest[name] = largest if before is None else before.maximum(largest)
            except Exception:  # sparse, empty, of a class of its own
                self._largest.setdefault(name, None)

        return see

    def _shape(self, module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        try:
            ids = named.get("input_ids", given[0] if given else None)
            if self.shape is None and ids is not None and ids.dim() == 2:
                self.shape = (int(ids.shape[0]), int(ids.shape[1]))
        except Exception:  # a model that takes something else
            return

    def gradients(self) -> Gradients:
        """Of all steps so far. A gradient that could not be read counts as one that arrived."""
        arrived: list[str] = []
        zero: list[str] = []
        missing: list[str] = []
        largest, finite = 0.0, True
        for name in self._names:
            if name not in self._largest:
                missing.append(name)
                continue
            value = self._largest[name]
            size = 1.0 if value is None else float(value)
            finite = finite and size == size and size != float("inf")
            largest = max(largest, size)
            (zero if size == 0 else arrived).append(name)
        return Gradients(tuple(arrived), tuple(zero), tuple(missing), largest, finite, made_up=False)

    def end(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def peaks() -> dict[str, int]:
    """Bytes that torch has held at most on each GPU of this process; empty where CUDA was not started. Starts nothing."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    return dict(_peaks(torch))


def _peaks(torch: Any) -> Iterator[tuple[str, int]]:
    for ordinal in range(torch.cuda.device_count()):
        held = int(torch.cuda.max_memory_allocated(ordinal))
        if held:
            yield f"cuda:{ordinal}", held


__all__ = ["Watch", "peaks"]
