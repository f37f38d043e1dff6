"""gptqmodel: what its kernels do after they were chosen, whatever the method: build themselves, meet the CPU, refuse to train."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.gptqmodel import sources_at_hand
from qvl_preflight.stack.gptqmodel_awq import AWQ_KERNELS
from qvl_preflight.stack.gptqmodel_kernels import KERNELS, Spec
from qvl_preflight.unknown import Unknown, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation


def _spec(situation: Situation, draft: Draft) -> tuple[Spec, Evidence] | None:
    """The kernel of this model where it is one of gptqmodel, and how it is known. Raises Undecided."""
    quantization = need(draft.quantization)
    if quantization is None or not quantization.pre_quantized or quantization.method not in ("gptq", "awq"):
        return None
    chosen = need(draft.kernel)
    if chosen is None or chosen.backend != "gptqmodel":
        return None
    if quantization.method == "gptq":
        row = KERNELS.row(situation.packages)
        return next((spec, row.evidence) for spec in row.value if spec.path == chosen.path)
    awq = AWQ_KERNELS.row(situation.packages)
    return next((spec, awq.evidence) for specs in awq.value.values() for spec in specs if spec.path == chosen.path)


def first_use(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: a kernel that downloads or compiles once the weights are loaded, and cannot here."""
    found = _spec(situation, draft)
    if found is None or found[0].builds != "load" or draft.failed("no-cuda"):
        return
    spec, known = found
    build = need(situation.facts.build)
    if spec.downloads and not sources_at_hand(situation):
        if not isinstance(build.network, Unknown) and not build.network:
            yield WillRaise(
                "QVL307",
                Stage.MATERIALISE,
                "URLError",
                "<urlopen error",
                "kernel-build",
                f"the {spec.name} kernel fetches the CUTLASS sources when it is first used, and there is no network",
                None if build.cutlass is False else "no copy of CUTLASS 4.7.1 lies in gptqmodel's cache",
                evidence=known,
            )
            return
        draft.undecided.append((Stage.MATERIALISE, "QVL307", "whether the network can be reached was not tried"))
    if build.nvcc is False or build.ninja is False or build.cxx is False:
        what = "nvcc" if build.nvcc is False else "ninja" if build.ninja is False else "a C++ compiler"
        type_, text = (
            ("RuntimeError", "Machete: failed to build torch.ops JIT extension")
            if spec.downloads
            else ("ModuleNotFoundError", "Marlin torch.ops kernels are not properly installed.")
        )
        yield WillRaise(
            "QVL307",
            Stage.MATERIALISE,
            type_,
            text,
            "kernel-build",
            f"the {spec.name} kernel is compiled when it is first used, and {what} is not installed",
            "no compiled copy lies in gptqmodel's cache",
            Evidence.SOURCE,
        )


# A CUDA kernel whose weights lie on the CPU, at the first forward.
_CPU_FORWARD = ByRelease(
    "gptqmodel",
    Row(
        "2.0",
        "5.0",
        ("RuntimeError", "0 active drivers ([]). There should only be one."),
        Evidence.RUN,
        "gptqmodel 4.2.5 with transformers 4.57.1",
    ),
    Row("5.0", "7.0", ("RuntimeError", "0 active drivers ([]). There should only be one."), Evidence.SOURCE, "gptqmodel 5.8.0"),
    Row("7.0", None, ("ValueError", "Expected a cuda device, but got: cpu"), Evidence.RECORDED, "gptqmodel 7.7.0"),
)


def forward(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """FORWARD: a kernel for GPUs on weights that lie on the CPU."""
    if draft.failed("cpu") or draft.failed("no-cuda"):
        return
    found = _spec(situation, draft)
    if found is None or "cpu" in found[0].devices or need(draft.devices) != ("cpu",):
        return
    if situation.request.trains and found[0].name == "tritonv2":
        return  # model.train() takes it through torch (gptqmodel 4.2.5, 7.7.0 tritonv2.py forward; run on 7.7.0)
    row, quantization = _CPU_FORWARD.row(situation.packages), need(draft.quantization)
    type_, text = row.value
    if quantization is not None and quantization.method == "awq":
        type_, text = "RuntimeError", "invalid argument to exchangeDevice"  # of torch: run with gptqmodel 7.7.0 and torch 2.14
    why = f"the {found[0].name} kernel is chosen for the GPU that this torch is built for, and the weights end on the CPU"
    yield WillRaise("QVL306", Stage.FORWARD, type_, text, "cpu", why, evidence=row.evidence)


def _marlin_awq(situation: Situation, draft: Draft) -> bool:
    kernel = need(draft.kernel)
    return kernel is not None and kernel.name == "marlin_awq" and situation.packages.at_least("gptqmodel", 7, 7)


def marlin_split(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: Marlin layers of AWQ that lie on the CPU: gptqmodel packs them anew once all is loaded (recorded: gptqmodel 7.7.0)."""
    if draft.failed("cpu") or draft.failed("no-cuda") or not _marlin_awq(situation, draft):
        return
    places = need(draft.device_map)
    offloaded = [name for name, device in places.items() if device == "cpu" and name and name.rpartition(".")[2] != "lm_head"]
    if offloaded and "cuda" in " ".join(places.values()):
        text, why = (
            "AWQ Marlin requires CUDA tensors, got `meta`.",
            f"the marlin_awq kernel takes weights of a GPU alone, and {offloaded[0]} goes to the CPU",
        )
        condition = None if any(re.fullmatch(r"(.*\.)?layers\.\d+", name) for name in offloaded) else "quantised layers lie in it"
        yield WillRaise("QVL306", Stage.MATERIALISE, "ValueError", text, "cpu", why, condition, Evidence.RECORDED)


def marlin_dtype(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """FORWARD: Marlin layers of AWQ that are given float32 (recorded: gptqmodel 7.7.0)."""
    if _marlin_awq(situation, draft) and draft.dtype == "float32" and not draft.failed("cpu"):
        why = "the marlin_awq kernel multiplies float16, and the model is asked for in float32"
        text = "gpt_marlin_gemm_fp16 only supports float16"
        yield WillRaise("QVL306", Stage.FORWARD, "RuntimeError", text, "marlin-dtype", why, evidence=Evidence.RECORDED)


def step(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """STEP: sets ``draft.trainable`` for GPTQ and AWQ; kernels of gptqmodel that refuse model.train()."""
    quantization = need(draft.quantization)
    if quantization is None or not quantization.pre_quantized or quantization.method not in ("gptq", "awq"):
        return
    chosen = need(draft.kernel)
    if not situation.request.trains or chosen is None:
        return
    draft.trainable = chosen.trainable
    found = _spec(situation, draft)
    if chosen.trainable or found is None:
        return
    text = found[0].refuses_training or f"{chosen.class_name}: `{chosen.path}` switching to training mode."
    why = f"the {chosen.name} kernel is made for inference and refuses model.train()"
    yield WillRaise("QVL801", Stage.STEP, "NotImplementedError", text, "no-train", why, evidence=found[1])
