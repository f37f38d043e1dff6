"""Devices that are no CUDA GPU and no CPU: what a torch that was not built for them says. Run on torch 2.13 and 2.14 for CUDA, on Linux."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import cuda
from qvl_preflight.unknown import Undecided, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

Said = tuple[str, str]
_MPS: ByRelease[Said] = ByRelease(
    "transformers",
    Row("4.32", "4.49", ("RuntimeError", "PyTorch is not linked with support for mps devices"), Evidence.RUN, "transformers 4.32.0 to 4.48.3"),
    Row("4.50", "5.11", ("NotImplementedError", "Could not run 'aten::empty.memory_format' with arguments from the 'MPS' backend."), Evidence.RUN, "transformers 4.50.3 to 5.10.0"),
    Row("5.17", None, ("RuntimeError", "PyTorch is not linked with support for mps devices"), Evidence.RUN, "transformers 5.17.0, 5.23.0"),
)  # fmt: skip
_NO_XPU = ("AssertionError", "Torch not compiled with XPU enabled")
_XPU: ByRelease[Said] = ByRelease(
    "transformers",
    Row("4.32", "4.38", _NO_XPU, Evidence.RUN, "transformers 4.32.0 to 4.37.2"),
    Row("4.45", "4.49", ("ValueError", '{} is not available, you should use device="cpu" instead'), Evidence.RUN, "transformers 4.45.2, 4.48.3, safetensors"),
    Row("4.50", None, _NO_XPU, Evidence.RUN, "transformers 4.50.3 to 5.23.0"),
)  # fmt: skip
_NO_XLA: ByRelease[Said] = ByRelease(
    "transformers",
    Row("5.23", None, ("NotImplementedError", "Could not run 'aten::empty.memory_format' with arguments from the 'XLA' backend."), Evidence.RECORDED, "transformers 5.23.0"),
)  # fmt: skip
_PLUGINS = {"npu": "torch-npu", "hpu": "habana-frameworks", "mlu": "torch-mlu", "musa": "torch-musa"}
_BAD_STRING = "When passing device_map as a string, the value needs to be a device name"


def other_devices(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """DEVICE_MAP: "mps", "xpu", "npu" or "hpu" with a torch that has none."""
    for name in situation.request.named_devices:
        kind = name.partition(":")[0] if name else ""
        if kind in ("mps", "xpu") and _built_for_cuda_or_cpu(situation, kind):
            row = (_MPS if kind == "mps" else _XPU).row(situation.packages)
            why = f'the call puts the model on "{name}", and this torch is not built for it'
            yield WillRaise(
                "QVL415", Stage.MATERIALISE, row.value[0], row.value[1].format(name), "device-map", why, evidence=row.evidence
            )
            return
        if kind == "xla" and not situation.packages.has("torch-xla"):
            row = _NO_XLA.row(situation.packages)
            why = f'the call puts the model on "{name}", and torch-xla, which makes it a device of torch, is not installed'
            yield WillRaise("QVL415", Stage.MATERIALISE, *row.value, "device-map", why, evidence=row.evidence)
            return
        if kind in _PLUGINS and not situation.packages.has(_PLUGINS[kind]):
            why = f'the call puts the model on "{name}", and {_PLUGINS[kind]}, which makes it a device of torch, is not installed'
            yield _without_plugin(situation, kind, why)
            return


def plugin(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ARGUMENTS: the whole map is such a device, whose plugin is not installed. Run: "npu"."""
    name = situation.request.device_map
    kind = name.partition(":")[0] if isinstance(name, str) else ""
    if kind in _PLUGINS and kind != "hpu" and not situation.packages.has(_PLUGINS[kind]):
        why = f'the call puts the model on "{name}", and {_PLUGINS[kind]}, which makes it a device of torch, is not installed'
        yield _without_plugin(situation, kind, why)


# The library says so whatever the macOS; 2.3 is the first to ask for macOS 14 (text in libtorch_cpu.dylib of the wheels of 2.2.2 and 2.3.1).
_NO_BFLOAT16 = ByRelease(
    "torch", Row("1.13", "2.3", "BFloat16 is not supported on MPS", Evidence.SOURCE, "torch 2.2.2, its wheel for macOS")
)


def mps_bfloat16(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: bfloat16 weights on a Mac's GPU, where the call or a Trainer puts them, with a torch that has no such tensors there."""
    request = situation.request
    if not cuda.on_a_mac(situation.facts):
        return
    named = any(name is not None and name.partition(":")[0] == "mps" for name in request.named_devices)
    moved = request.trains and request.trainer is not None and not request.trains_on_cpu and request.device_map is None
    if not (named or moved) or draft.dtype != "bfloat16":
        return
    release = situation.packages.release("torch")
    if release is None or release >= (2, 3):
        return
    row = _NO_BFLOAT16.row(situation.packages)
    why = f"the weights are bfloat16, and {'the call puts them' if named else 'the Trainer takes them'} to the Mac's GPU (MPS), where torch has bfloat16 from 2.3 on"
    yield WillRaise(
        "QVL423", Stage.MATERIALISE if named else Stage.TRAINER, "TypeError", row.value, "mps-bfloat16", why, evidence=row.evidence
    )


def _without_plugin(situation: Situation, kind: str, why: str) -> WillRaise:
    if kind == "hpu":
        return WillRaise(
            "QVL415",
            Stage.MATERIALISE,
            "ModuleNotFoundError",
            "No module named 'torch.hpu'",
            "device-map",
            why,
            evidence=Evidence.RUN,
        )
    evidence = Evidence.RUN if kind == "npu" else Evidence.SOURCE
    if isinstance(situation.request.device_map, str):
        return WillRaise("QVL415", Stage.ARGUMENTS, "ValueError", _BAD_STRING, "device-map", why, evidence=evidence)
    return WillRaise("QVL415", Stage.DEVICE_MAP, "RuntimeError", "Expected one of cpu, cuda", "device-map", why, evidence=evidence)


def _built_for_cuda_or_cpu(situation: Situation, kind: str) -> bool:
    """Is it a wheel that cannot have this device? Raises Undecided where the build is not known."""
    torch, python = need(situation.facts.torch), need(situation.facts.python)
    platform = need(python.platform)
    if kind == "mps":
        return not platform.startswith("macos")
    if torch.xpu_build is False or need(torch.cuda_build):  # its wheels have one of them alone
        return True
    raise Undecided("a torch without CUDA may be one for XPU")
