"""Where "auto" and its kin put a model: what transformers hands to the functions of `auto_map`, release by release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qvl_preflight.memory.bitsandbytes import left_alone
from qvl_preflight.memory.loader import NEWEST, Loader
from qvl_preflight.memory.weights import is_linear
from qvl_preflight.stack import accelerate, module_tree
from qvl_preflight.stack.auto_map import Budgets, Device, Model, Way, balanced, infer
from qvl_preflight.stack.cuda import available
from qvl_preflight.stack.module_tree import Counting
from qvl_preflight.stack.named_modules import by_names
from qvl_preflight.unknown import Undecided, Unknown, attempt, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.facts import Packages
    from qvl_preflight.plan import Draft, Quantization, Situation
    from qvl_preflight.safetensors import Tensor

# Rows between releases of which one was run: the source in between was compared.
_ACCELERATE: ByRelease[Way] = ByRelease(
    "accelerate",
    Row("0.20", "0.22", Way(ties_first=False, whole_names=False, prefix_of_tie=False, lone_share=1.0), Evidence.SOURCE, "accelerate 0.20.3, 0.21.0 utils/modeling.py"),
    Row("0.22", "0.26", Way(ties_first=False, whole_names=False, prefix_of_tie=False), Evidence.RUN, "accelerate 0.23.0 utils/modeling.py"),
    Row("0.26", "1.2", Way(ties_first=False, prefix_of_tie=False), Evidence.RUN, "accelerate 0.26.1, 1.0.1 utils/modeling.py"),
    Row("1.2", "1.3", Way(prefix_of_tie=False), Evidence.SOURCE, "accelerate 1.2.1 utils/modeling.py"),
    Row("1.3", None, Way(), Evidence.RUN, "accelerate 1.15.0 utils/modeling.py"),
)  # fmt: skip
_TRANSFORMERS: ByRelease[Way] = ByRelease(
    "transformers",
    Row("5.0", "5.13", Way(module_leaves=True), Evidence.RUN, "transformers 5.5.0 integrations/accelerate.py"),
    Row("5.13", "5.14", Way(module_leaves=True, splits_when_full=True, tied_once=True), Evidence.SOURCE, "transformers 5.13.0 integrations/accelerate.py"),
    Row("5.14", "5.18", Way(module_leaves=True, splits_when_full=True, tied_once=True, buffer="largest-block"), Evidence.RUN, "transformers 5.17.0 integrations/accelerate.py"),
    Row("5.18", None, Way(module_leaves=True, splits_when_full=True, tied_once=True, buffer="largest-leaf"), Evidence.RUN, "transformers 5.23.0 integrations/accelerate.py"),
)  # fmt: skip
# The share of max_memory that a quantizer leaves to the weights (quantizers' adjust_max_memory; bitsandbytes from 4.33 on).
_SHARES = {"bitsandbytes": 0.9, "torchao": 0.9, "quanto": 0.9, "bitnet": 0.9}
_WIDTHS = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def way_of(packages: Packages) -> Way:
    """How the installed releases work a map out; the newest way where they are not known."""
    newest = attempt(lambda: packages.at_least("transformers", 5))
    found = attempt(lambda: (_TRANSFORMERS if newest is True else _ACCELERATE).value(packages))
    return (_TRANSFORMERS.rows[-1].value if newest is not False else Way()) if isinstance(found, Unknown) else found


def worked_out(situation: Situation, draft: Draft, strategy: str) -> dict[str, str]:
    """Module → device. Raises Undecided where sizes or free memory decide and are unknown."""
    limits, by_default = _limits(situation)
    gpus = [device for device in limits if isinstance(device, int)]
    weights = situation.checkpoint.weights
    if isinstance(weights, Unknown):
        if not gpus:
            return {"": "cpu"}
        raise Undecided(f"whether the model fits depends on its size, and {weights.reason}")
    way, quantization = way_of(situation.packages), need(draft.quantization)
    model, of_class = model_of(situation, weights.tensors, draft.dtype, quantization)
    free = dict(limits)
    if strategy != "sequential":
        limits = balanced(model, limits, way, low_zero=strategy == "balanced_low_0", by_default=by_default)
    share = _SHARES.get(quantization.method, 1.0) if quantization is not None else 1.0
    limits = {device: size * share for device, size in limits.items()}
    try:
        found = infer(model, limits, way)
    except IndexError:
        raise Undecided("accelerate does not find the module of a tied tensor") from None
    homes = set(found.values())
    draft.parts_are_guessed = not of_class
    if not of_class:
        _sure(model, homes, {device: size * share for device, size in free.items()})
    # What is free is asked again when the model is loaded; CUDA itself takes some of it by then.
    memory_decides = by_default and (not homes <= set(gpus) or any(limits[gpu] == free[gpu] * share for gpu in gpus[:-1]))
    draft.split_is_about = (len(homes) > 1 or "disk" in homes) and (not of_class or memory_decides)
    named = {name: f"cuda:{device}" if isinstance(device, int) else device for name, device in found.items()}
    return {"": next(iter(named.values()))} if len(homes) == 1 else named


def _sure(model: Model, homes: set[Device], limits: Mapping[Device, float]) -> None:
    """Where the modules are guessed: would every split leave the GPUs, and reach the disk? Raises Undecided where another may not."""
    size = sum(each for _, each in model.sizes)
    gpus = [limit for device, limit in limits.items() if isinstance(device, int)]
    leaves = gpus and any(not isinstance(home, int) for home in homes)
    reaches = "disk" in homes
    if (leaves and size <= sum(gpus)) or (reaches and size <= sum(limit for device, limit in limits.items() if device != "disk")):
        raise Undecided("whether all fits depends on the modules of the class, which are not known")


def model_of(
    situation: Situation, tensors: tuple[Tensor, ...], dtype: str | Unknown, quantization: Quantization | None
) -> tuple[Model, bool]:
    """The modules that the call will make, and whether they are those of the class: else they are put together from names."""
    counting = _counting(situation, dtype, quantization)
    release = attempt(lambda: situation.packages.release("transformers"))
    classes = situation.checkpoint.config.get("architectures")
    own_code = situation.checkpoint.remote_code and situation.request.kwargs.get("trust_remote_code") is True
    written = classes[0] if isinstance(classes, list) and classes and isinstance(classes[0], str) else None
    loader = situation.request.loader
    same = loader is None or loader == written or loader.startswith("AutoModelFor")
    if not own_code and same and written is not None and isinstance(release, tuple):
        found = module_tree.of_class(situation.checkpoint, tensors, written, release, counting)
        if found is not None and not found.about:
            return found, True
    return by_names(tensors, counting), False


def _counting(situation: Situation, dtype: str | Unknown, quantization: Quantization | None) -> Counting:
    width = _WIDTHS.get(dtype, 2) if isinstance(dtype, str) else module_tree.AS_STORED
    newest = attempt(lambda: situation.packages.at_least("transformers", 5)) is not False
    counting = Counting(width, buffers_as_made=newest)
    if not newest:
        small = attempt(lambda: not situation.packages.at_least("accelerate", 0, 27))
        counting = replace(counting, small_integers=small is True)
    if quantization is None or quantization.method != "bitsandbytes":
        return counting
    each = 1.0 if quantization.bits == 8 else 0.5
    if newest:
        return replace(counting, linear=each, quantises=_quantised(situation, quantization))
    skipped = quantization.config.get("llm_int8_skip_modules")
    alone = tuple(map(str, skipped)) if isinstance(skipped, list) else ("lm_head", "embed_out")
    return replace(counting, all_floats=each, left_alone=alone)


def _quantised(situation: Situation, quantization: Quantization) -> Callable[[Tensor], bool]:
    release = attempt(lambda: situation.packages.release("transformers"))
    loader = Loader(release if isinstance(release, tuple) else NEWEST.transformers)
    kind, config = situation.checkpoint.config.get("model_type"), quantization.config
    return lambda tensor: is_linear(tensor) and not left_alone(tensor.name, config, loader, kind)


def _limits(situation: Situation) -> tuple[Budgets, bool]:
    """max_memory as given, or what is free; and whether it was not given."""
    given = situation.request.kwargs.get("max_memory")
    if isinstance(given, Mapping):
        return _given(given, available(situation)), False
    gpus: Budgets = {}
    if available(situation):
        gpus = {ordinal: need(gpu.free_bytes) for ordinal, gpu in enumerate(need(situation.devices).visible)}
    share = 0.9 if attempt(lambda: situation.packages.at_least("transformers", 5)) is True else 1.0
    return {**gpus, "cpu": _ram(situation) * share}, True


def _given(given: Mapping[Any, Any], cuda: bool) -> Budgets:
    sizes: dict[Device, float] = {key: accelerate.size_of(value) for key, value in given.items() if isinstance(key, int) and cuda}
    rest: dict[Device, float] = {key: accelerate.size_of(given[key]) for key in ("cpu", "disk") if key in given}
    return {**dict(sorted(sizes.items(), key=lambda item: str(item[0]).zfill(9))), **rest}


def _ram(situation: Situation) -> float:
    """What psutil calls available. It does not see the bounds of a container, and facts do: there RAM is taken to suffice."""
    host = situation.facts.host
    if isinstance(host, Unknown) or host.container is not False or isinstance(host.ram_available_bytes, Unknown):
        return 2.0**62
    return host.ram_available_bytes
