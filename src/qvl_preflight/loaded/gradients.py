"""The gradient canary: one small forward and backward, after which the model is as it was."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from qvl_preflight.loaded.look import unwrapped
from qvl_preflight.loaded.record import Gradients, Loaded
from qvl_preflight.unknown import Undecided, Unknown, attempt

# auto-gptq's CUDA kernel computes outside of autograd below 128 rows: a shorter input would accuse what trains at a usual length.
TOKENS = 128
_NO_GRAPH = "does not require grad and does not have a grad_fn"
_NOT_TEXT = ("vis", "image", "audio", "speech", "video", "projector", "connector", "perceiver")


def small_step(model: Any, loaded: Loaded, batch: Mapping[str, Any] | None = None) -> Gradients | Unknown:
    """What reaches the trainable parameters in one step on ``batch``, or on made-up tokens. Unknown, with the reason, where none can be made."""
    return attempt(lambda: _small_step(model, loaded, batch))


def _small_step(model: Any, loaded: Loaded, batch: Mapping[str, Any] | None) -> Gradients:
    torch = sys.modules.get("torch")
    if torch is None:
        raise Undecided("torch is not loaded in this process")
    if loaded.sharded:
        raise Undecided(f"the weights are in pieces ({loaded.sharded}): a step takes all ranks")
    if loaded.without_data:
        raise Undecided("some weights have no data")
    inner = unwrapped(model)
    trained = [(name, each) for name, each in inner.named_parameters() if each.requires_grad]
    if not trained:
        raise Undecided("nothing requires a gradient")
    with _as_it_was(torch, inner, [each for _, each in trained]):
        try:
            inner.train()
            with torch.enable_grad():
                _loss(torch, inner(**(batch if batch is not None else _tokens(torch, inner)))).backward()
        except Exception as error:
            if _NO_GRAPH in str(error):  # nothing that was computed depends on what is trained
                return _reaches_text(Gradients((), (), tuple(name for name, _ in trained), 0.0, True, batch is None))
            said = (str(error).strip().splitlines() or [""])[0][:160]
            raise Undecided(f"the step raised {type(error).__name__}: {said}") from error
        return _reaches_text(_read(((name, each.grad) for name, each in trained), batch is None))


def _reaches_text(found: Gradients) -> Gradients:
    """Raises Undecided where made-up text cannot show anything: what is trained belongs to images or sounds."""
    if found.made_up and not found.arrived and any(word in name.lower() for name in found.missing for word in _NOT_TEXT):
        raise Undecided("what is trained is not reached by made-up text; pass a batch, gradients={...}")
    return found


def _read(pairs: Iterator[tuple[str, Any]], made_up: bool) -> Gradients:
    arrived: list[str] = []
    zero: list[str] = []
    missing: list[str] = []
    largest, finite = 0.0, True
    for name, gradient in pairs:
        if gradient is None:
            missing.append(name)
            continue
        size = float(gradient.detach().abs().max()) if gradient.numel() else 0.0
        finite = finite and size == size and size != float("inf")
        largest = max(largest, size)
        (zero if size == 0 else arrived).append(name)
    return Gradients(tuple(arrived), tuple(zero), tuple(missing), largest, finite, made_up)


@contextmanager
def _as_it_was(torch: Any, model: Any, trained: list[Any]) -> Iterator[None]:
    """Mode, gradients, random numbers and running statistics are put back, whatever happens."""
    modes = [(module, module.training) for module in model.modules()]
    gradients = [parameter.grad for parameter in trained]
    counted = [
        (buffer, buffer.clone())
        for module in model.modules()
        if getattr(module, "running_mean", None) is not None
        for buffer in module.buffers(recurse=False)
    ]
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    random, on_gpus = torch.get_rng_state(), torch.cuda.get_rng_state_all() if cuda else None
    try:
        for parameter in trained:
            parameter.grad = None
        yield
    finally:
        for module, mode in modes:
            module.training = mode  # not by train(), which some kernels refuse
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, before in counted:
                buffer.copy_(before)
        torch.set_rng_state(random)
        if on_gpus is not None:
            torch.cuda.set_rng_state_all(on_gpus)


def _tokens(torch: Any, model: Any) -> dict[str, Any]:
    """Made-up text: ids from the middle of the vocabulary, where no sign of an image or a turn stands."""
    config = getattr(model, "config", None)
    text = getattr(config, "get_text_config", None)
    if callable(text):
        config = text()
    size = getattr(config, "vocab_size", None)
    if not isinstance(size, int) or size < 8:
        raise Undecided("the model has no vocabulary that its configuration names; pass a batch, gradients={...}")
    limits = [limit for name in ("max_position_embeddings", "n_positions", "seq_length") if isinstance(limit := getattr(config, name, None), int) and limit > 1]  # fmt: skip
    length = min([TOKENS, *limits])
    made = torch.randint(size // 4, size // 2, (1, length), generator=torch.Generator().manual_seed(0)).to(_input_device(model))
    return {"input_ids": made, "attention_mask": torch.ones_like(made), "labels": made.clone()}


def _input_device(model: Any) -> Any:
    """Where the embeddings are; of offloaded ones, where their hook computes."""
    embeddings = model.get_input_embeddings()
    weight = getattr(embeddings, "weight", None)
    if weight is None:
        weight = next(embeddings.parameters())
    if weight.device.type != "meta":
        return weight.device
    return getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None) or "cpu"


def _loss(torch: Any, out: Any) -> Any:
    """The loss that the model gives; without one, the mean square of its first output."""
    loss = out.get("loss") if isinstance(out, Mapping) else getattr(out, "loss", None)
    if loss is not None:
        return loss
    first = out if isinstance(out, torch.Tensor) else next(iter(out.values())) if isinstance(out, Mapping) else out[0]
    return first if first.dim() == 0 else first.float().pow(2).mean()
