"""Reads a loaded model by its attributes. Nothing is imported, moved, computed or changed; what an object does not say is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.loaded.record import Layer, Loaded, Part

# Classes that hold the model which they wrap, and where.
_WRAPPERS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "DeepSpeedEngine": "module",
    "OptimizedModule": "_orig_mod",
    "FullyShardedDataParallel": "module",
}
_BACKENDS = {"auto_gptq": "auto-gptq", "gptqmodel": "gptqmodel", "awq": "autoawq", "bitsandbytes": "bitsandbytes", "hqq": "hqq", "eetq": "eetq", "aqlm": "aqlm"}  # fmt: skip


def is_model(thing: Any) -> bool:
    """Is it a module of torch, by what it can be asked?"""
    return not isinstance(thing, type) and all(
        callable(getattr(thing, name, None)) for name in ("named_parameters", "named_buffers", "named_modules")
    )


def unwrapped(model: Any) -> Any:
    """The model inside of what distributes or compiles it."""
    for _ in range(8):
        inner = getattr(model, _WRAPPERS.get(type(model).__name__, ""), None)
        if not is_model(inner):
            break
        model = inner
    return model


def look(model: Any) -> Loaded:
    """What is there. Raises InputError for what is no model."""
    if not is_model(model):
        raise InputError(f"model is a {type(model).__name__}; expected a folder, a hub id, or a model that is loaded")
    inner = unwrapped(model)
    modules = list(inner.named_modules())
    brought = _brought(modules)
    tensors = [
        *((name, each, True) for name, each in inner.named_parameters()),
        *((name, each, False) for name, each in inner.named_buffers()),
    ]
    parts = tuple(_part(name, tensor, parameter, brought) for name, tensor, parameter in tensors)
    config = getattr(inner, "config", None)
    name = getattr(config, "_name_or_path", None) or getattr(config, "name_or_path", None)
    return Loaded(
        _base_class(inner), name if isinstance(name, str) and name else type(inner).__name__, parts, tuple(_layers(modules)), _adapters(inner),
        _quantized(config), any(_hooks(module) for _, module in modules), _sharded(model, (tensor for _, tensor, _ in tensors)),
    )  # fmt: skip


def _part(name: str, tensor: Any, parameter: bool, brought: frozenset[str]) -> Part:
    device = str(getattr(tensor, "device", "?"))
    numbers = _number(getattr(tensor, "numel", None))
    size = numbers * _number(getattr(tensor, "element_size", None))
    owner = name.rpartition(".")[0]
    offloaded = device == "meta" and any(owner == top or top == "" or owner.startswith(top + ".") for top in brought)
    dtype = str(getattr(tensor, "dtype", "?")).removeprefix("torch.")
    return Part(name, device, dtype, numbers, size, parameter and bool(tensor.requires_grad), parameter, offloaded)


def _number(method: Any) -> int:
    try:
        return int(method())
    except Exception:  # a tensor of a class that does not say
        return 0


def _hooks(module: Any) -> Iterator[Any]:
    """The hooks of accelerate on a module, those in a row one by one."""
    hook = getattr(module, "_hf_hook", None)
    if hook is not None:
        inside = getattr(hook, "hooks", None)
        yield from inside if isinstance(inside, (list, tuple)) else (hook,)


def _brought(modules: Iterable[tuple[str, Any]]) -> frozenset[str]:
    """The modules whose data a hook brings for the forward."""
    return frozenset(name for name, module in modules if any(getattr(hook, "offload", False) is True for hook in _hooks(module)))


def _layers(modules: Iterable[tuple[str, Any]]) -> Iterator[Layer]:
    for name, module in modules:
        kind = type(module)
        package, _, path = kind.__module__.partition(".")
        if package not in _BACKENDS or "inear" not in kind.__name__ or not any(True for _ in _own_tensors(module)):
            continue
        last = path.rpartition(".")[2].removeprefix("qlinear_").removesuffix("_kernel")
        kernel = last if package in ("auto_gptq", "gptqmodel") else kind.__name__
        yield Layer(name, kernel, kind.__name__, _BACKENDS[package], _takes_train(module))


def _takes_train(module: Any) -> bool | None:
    """As gptqmodel's layers say; a layer that is in that mode already is not asked again, unless its class answers by itself."""
    supports = getattr(type(module), "SUPPORTS_TRAINING", None)
    if not isinstance(supports, bool):
        return None
    return None if not supports and module.training and "train" not in vars(type(module)) else supports


def _own_tensors(module: Any) -> Iterator[Any]:
    for kept in ("_parameters", "_buffers"):
        held = getattr(module, kept, None)
        if isinstance(held, Mapping):
            yield from (each for each in held.values() if each is not None)


def _base_class(model: Any) -> str:
    """The class of the model itself: peft's wrapper has it inside."""
    ask = getattr(model, "get_base_model", None)
    if callable(ask) and getattr(model, "peft_config", None):
        try:
            return type(ask()).__name__
        except Exception:  # of an unknown kind
            return type(model).__name__
    return type(model).__name__


def _adapters(model: Any) -> dict[str, str]:
    """Name of each adapter, and what it is: ``lora, r=8 on q_proj, v_proj``."""
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, Mapping):
        return {}
    return {str(name): _described(config) for name, config in configs.items()}


def _described(config: Any) -> str:
    kind = getattr(config, "peft_type", None)
    text = str(getattr(kind, "value", kind) or type(config).__name__).lower()
    rank, targets = getattr(config, "r", None), getattr(config, "target_modules", None)
    if isinstance(rank, int) and not isinstance(rank, bool):
        text += f", r={rank}"
    if isinstance(targets, str):
        text += f" on {targets}"
    elif isinstance(targets, (list, tuple, set, frozenset)) and targets:
        text += f" on {', '.join(sorted(map(str, targets)))}"
    return text


def _quantized(config: Any) -> str | None:
    """The method by which the configuration says that the weights are quantised."""
    given = getattr(config, "quantization_config", None)
    method = given.get("quant_method") if isinstance(given, Mapping) else getattr(given, "quant_method", None)
    method = getattr(method, "value", method)
    return str(method) if method else None


def _sharded(model: Any, tensors: Iterable[Any]) -> str:
    if any(kind.__name__ in ("FullyShardedDataParallel", "FSDPModule") for kind in type(model).__mro__):
        return "FSDP"
    for tensor in tensors:
        if hasattr(tensor, "ds_id"):
            return "ZeRO-3"
        if type(tensor).__name__ in ("DTensor", "FlatParameter") or type(getattr(tensor, "data", None)).__name__ == "DTensor":
            return "FSDP" if type(tensor).__name__ == "FlatParameter" else "DTensor"
    return ""
