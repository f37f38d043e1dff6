"""Weights, or what full fine-tuning holds at once, that are more than the GPU has. Lower bounds: what is said here does not fit on any day.

The bytes: memory/weights.py, memory/training.py, of which estimate_memory and ``qvl-preflight fit`` are made as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING

from qvl_preflight.devices import is_rank
from qvl_preflight.memory import training
from qvl_preflight.memory.ranks import sharing_of
from qvl_preflight.memory.weights import in_memory
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import cuda
from qvl_preflight.stack.accelerate import units
from qvl_preflight.stack.loaders import loader_of
from qvl_preflight.stack.map_holes import home_of
from qvl_preflight.unknown import Undecided, Unknown, attempt, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.facts import Gpu
    from qvl_preflight.memory.training import Training
    from qvl_preflight.memory.weights import Stored
    from qvl_preflight.plan import Draft, Situation

_TYPE: ByRelease[str] = ByRelease(
    "torch",
    Row("1.0", "1.13", "RuntimeError", Evidence.SOURCE, "torch 1.12: reports"),
    Row("1.13", "2.5", "OutOfMemoryError", Evidence.SOURCE, "torch 2.2.2 torch.cuda.OutOfMemoryError"),
    Row("2.5", None, "OutOfMemoryError", Evidence.RECORDED, "torch 2.11.0 with transformers 5.17.0, recorded on an H100"),
)
TEXT = "CUDA out of memory. Tried to allocate"
_GIB = 2**30


_Step = Callable[["Situation", "Draft"], Iterator[WillRaise]]


def _if_known(step: _Step) -> _Step:
    """What cannot be worked out is no open question of a call: nobody counts bytes for it, and most calls fit."""

    @wraps(step)
    def quiet(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
        with suppress(Undecided):
            yield from step(situation, draft)

    return quiet


@_if_known
def weights_fit(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: sets ``draft.memory``. A device_map puts more weights on a GPU than its memory holds, be it as empty as it can be."""
    stored = attempt(lambda: _stored(situation, draft))
    draft.memory = attempt(lambda: _per_device(situation, draft, stored))
    request = situation.request
    if isinstance(stored, Unknown) or request.device_map is None or request.kwargs.get("tp_plan") is not None:
        return
    for device, size in need(draft.memory).items():
        gpu = _gpu(situation, device)
        if gpu is not None and size > need(gpu.total_bytes):
            why = (
                f"{size / _GIB:.1f} GiB of weights go to {device} ({_named(gpu)}), which has {need(gpu.total_bytes) / _GIB:.1f} GiB"
            )
            yield _raised(situation, "QVL501", Stage.MATERIALISE, why)
            return


@_if_known
def move_fits(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: a Trainer takes a model from the CPU to the GPU whole, which has not that much memory."""
    request = situation.request
    if not request.trains or request.trainer is None or request.trains_on_cpu or need(draft.devices) != ("cpu",):
        return
    held = _of_a_process(situation, _stored(situation, draft))
    device = _home(situation, [])
    gpu = _gpu(situation, device)
    if gpu is not None and held.weights > need(gpu.total_bytes):
        shared = f" of a rank, over {held.ranks} ranks" if held.ranks > 1 else ""
        why = f"the Trainer takes {held.weights / _GIB:.1f} GiB of weights{shared} to {device} ({_named(gpu)}), which has {need(gpu.total_bytes) / _GIB:.1f} GiB"
        yield _raised(situation, "QVL501", Stage.TRAINER, why)


@_if_known
def training_fits(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """STEP: full fine-tuning whose weights, gradients and optimizer states are more than the GPU has. Only a named purpose counts: adapters that
    nobody mentioned may still come."""
    request = situation.request
    if request.purpose != "full" or not request.purpose_named or request.trainer is None or request.peft or request.trains_on_cpu:
        return
    if need(draft.quantization) is not None:
        return
    held = _of_a_process(situation, _stored(situation, draft))
    devices = need(draft.devices)
    spread = sorted(name for name in devices if name.startswith("cuda"))
    homes = spread if len(spread) > 1 else [_home(situation, spread)]
    gpus = [gpu for name in homes if (gpu := _gpu(situation, name)) is not None]
    if not gpus or len(gpus) < len(homes):
        return
    room = sum(need(gpu.total_bytes) for gpu in gpus)
    if held.total_bytes > room:
        parts = ", ".join(f"{size / _GIB:.1f} GiB of {what}" for what, size in _parts(held) if size)
        shared = f" a rank, over {held.ranks} ranks" if held.ranks > 1 else ""
        where = f"{_named(gpus[0])} has" if len(gpus) == 1 else f"the {len(gpus)} GPUs have"
        why = (
            f"full fine-tuning holds {parts}{shared}, {held.total_bytes / _GIB:.1f} GiB together, and {where} {room / _GIB:.1f} GiB"
        )
        yield _raised(situation, "QVL502", Stage.STEP, why, "every weight is trained")


def _parts(held: Training) -> tuple[tuple[str, float], ...]:
    return ("weights", held.weights), ("gradients", held.gradients), (f"{held.optimizer}'s states", held.states)


def _stored(situation: Situation, draft: Draft) -> tuple[Stored, ...]:
    return in_memory(situation.checkpoint, draft.dtype, draft.quantization, loader_of(situation, draft))


def _per_device(situation: Situation, draft: Draft, stored: tuple[Stored, ...] | Unknown) -> dict[str, int]:
    """Bytes of weights per device: in the layout that the call gives them, where that is known, else as they are stored."""
    tensors, homes = need(situation.checkpoint.weights).tensors, need(draft.device_map)
    sizes: dict[str, int] = {}
    for piece in units(tensors, draft.dtype) if isinstance(stored, Unknown) else stored:
        device = home_of(homes, piece.name)
        sizes[device] = sizes.get(device, 0) + piece.total_bytes
    return sizes


def _of_a_process(situation: Situation, stored: tuple[Stored, ...]) -> Training:
    """What one process holds. Raises Undecided where it is not known whether the model is shared, or where its weights lie in RAM."""
    trainer = situation.request.trainer or {}
    sharing = sharing_of(trainer, situation.facts.launch)
    if sharing.weights_away:
        raise Undecided("the weights are kept in RAM")
    return training.full(stored, trainer, sharing)


def _home(situation: Situation, spread: list[str]) -> str:
    """The GPU to which a Trainer takes a model that lies on no GPU yet, or on one."""
    if is_rank(situation.facts.launch):
        if situation.home is None:
            raise Undecided("which GPU is this rank's")
        return f"cuda:{situation.home.ordinal}"
    return spread[0] if spread else "cuda:0"


def _gpu(situation: Situation, device: str) -> Gpu | None:
    """The GPU of that name; None where it is none of these, or where models are mixed and CUDA may number them otherwise."""
    kind, _, ordinal = device.partition(":")
    if kind != "cuda" or not cuda.available(situation):
        return None
    devices = need(situation.devices)
    number = int(ordinal) if ordinal.isdecimal() else 0
    if number >= len(devices.visible):
        return None
    if devices.order_known:
        return devices.visible[number]
    return max(devices.visible, key=lambda gpu: need(gpu.total_bytes))


def _named(gpu: Gpu) -> str:
    return "the GPU" if isinstance(gpu.name, Unknown) else gpu.name


def _raised(situation: Situation, code: str, stage: Stage, why: str, condition: str | None = None) -> WillRaise:
    row = _TYPE.rows[-1] if isinstance(found := attempt(lambda: _TYPE.row(situation.packages)), Unknown) else found
    python = situation.facts.python
    platform = Unknown("") if isinstance(python, Unknown) else python.platform
    falls_back = isinstance(platform, Unknown) or platform.startswith("win") or platform.endswith("wsl")
    if falls_back:
        condition = " and ".join(filter(None, (condition, "the driver does not take the machine's RAM instead, as Windows' can")))
    return WillRaise(code, stage, row.value, TEXT, "out-of-memory", why, condition, row.evidence)
