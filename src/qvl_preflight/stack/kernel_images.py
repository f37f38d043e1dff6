"""GPUs for which the installed torch holds no kernel.

Moving weights to such a GPU needs none and succeeds; the first operation raises. Seen on an H100 with kernels built for other capabilities:
"no kernel image is available for execution on the device" (CUDA 13.0, driver 580).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.stack.cuda import DEVICE_ERROR, NO_KERNEL, without_kernels
from qvl_preflight.stack.torch_wheels import built_for, runs_on
from qvl_preflight.unknown import Unknown, attempt, need
from qvl_preflight.versions import Evidence

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Gpu
    from qvl_preflight.plan import Draft, Situation

_IN_EVERY_WHEEL = ((7, 5), (8, 9))  # Turing to Ada: since CUDA 11.8


def first_kernel(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """FORWARD: the first operation on a GPU of the model."""
    devices = situation.devices
    if isinstance(devices, Unknown):
        return
    if isinstance(draft.devices, Unknown):
        yield from _on_any(situation, devices)
        return
    ordinals = {int(name.partition(":")[2] or 0) for name in draft.devices if name.startswith("cuda")}
    for ordinal in sorted(ordinals):
        if ordinal < len(devices.visible) and (raised := _missing(situation, devices.visible[ordinal], ordinal)):
            yield raised
            return


def _on_any(situation: Situation, devices: Devices) -> Iterator[WillRaise]:
    """A strategy takes one GPU or another: it counts where torch has kernels for none of them."""
    if situation.request.device_map not in STRATEGIES or not devices.visible:
        return
    found = [_missing(situation, gpu, ordinal) for ordinal, gpu in enumerate(devices.visible)]
    if found[0] is not None and all(raised is not None for raised in found):
        yield found[0]


def _missing(situation: Situation, gpu: Gpu, ordinal: int) -> WillRaise | None:
    built = attempt(lambda: built_for(situation.facts, situation.packages))
    capability = need(gpu.capability)
    if isinstance(built, Unknown) and _IN_EVERY_WHEEL[0] <= capability <= _IN_EVERY_WHEEL[1]:
        return None
    archs, read = need(built)
    if runs_on(archs, capability):
        return None
    conditions = [] if read else ["torch is PyTorch's own wheel"]
    if isinstance(situation.devices, Unknown) or not situation.devices.order_known:
        conditions.append(f"CUDA numbers this GPU {ordinal}, as nvidia-smi does")
    type_ = attempt(lambda: DEVICE_ERROR.value(situation.packages))
    name = "RuntimeError" if isinstance(type_, Unknown) else type_
    why, condition = without_kernels(gpu, archs), " and ".join(conditions) or None
    evidence = Evidence.RECORDED if read else Evidence.SOURCE  # the list of the library itself, or of the official wheel
    return WillRaise("QVL114", Stage.FORWARD, name, NO_KERNEL, "no-kernel-image", why, condition, evidence)
