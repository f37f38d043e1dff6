"""AWQ: which linear layer holds the weights. autoawq's up to transformers 4.57, one of gptqmodel's from 5.0 on.

Sources: transformers 4.35.2 to 4.57.1 integrations/awq.py replace_with_awq_linear, utils/quantization_config.py AwqConfig; 5.0.0 to 5.23.0 likewise;
autoawq 0.1.8, 0.2.0, 0.2.6, 0.2.9 awq/modules/linear/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Kernel, Stage, WillRaise
from qvl_preflight.stack import cuda, gptqmodel_awq, gptqmodel_device
from qvl_preflight.stack.awq import stored_awq
from qvl_preflight.stack.gptqmodel import Unsupported
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

# AWQLinearVersion.
VERSIONS: ByRelease[tuple[str, ...]] = ByRelease(
    "transformers",
    Row("4.35", "4.39", ("gemm", "gemv"), Evidence.SOURCE, "transformers 4.35.2, 4.38.2 utils/quantization_config.py"),
    Row("4.39", "4.46", ("gemm", "gemv", "exllama"), Evidence.SOURCE, "transformers 4.39.3, 4.45.2 utils/quantization_config.py"),
    Row("4.46", "5.0", ("gemm", "gemv", "exllama", "ipex"), Evidence.SOURCE, "transformers 4.46.3, 4.57.1 utils/quantization_config.py"),
    Row("5.0", None, gptqmodel_awq.FORMATS, Evidence.RUN, "transformers 5.23.0 utils/quantization_config.py AwqFormat"),
)  # fmt: skip


def settings(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: a packing or a kernel that this release's AwqConfig does not know."""
    quantization = stored_awq(draft)
    if quantization is None:
        return
    row, config, five = VERSIONS.row(situation.packages), quantization.config, situation.packages.at_least("transformers", 5)
    if five:
        named, backend = gptqmodel_awq.packing_of(config), str(config.get("backend") or "auto")
        if named not in row.value:
            text, why = (
                f"Invalid format '{named}'. Must be one of: ",
                f'the checkpoint\'s version is "{named}", and this transformers loads',
            )
        elif backend not in (*gptqmodel_awq.BACKENDS, "llm-awq"):
            text, why = f"Invalid backend '{backend}'. Must be one of: ", f'backend is "{backend}", and this transformers knows'
            row = Row(row.since, row.until, gptqmodel_awq.BACKENDS, row.evidence, row.source)
        else:
            return
    else:
        named = str(config.get("version") or "gemm").lower()
        if named in row.value or not situation.packages.at_least("transformers", 4, 36):
            return
        text, why = f"Unknown AWQLinearVersion {named}", f'the version of the AWQ layers is "{named}", and this transformers knows'
    why = f"{why} {', '.join(row.value)}"
    yield WillRaise("QVL305", Stage.CONFIG, "ValueError", text, "kernel", why, evidence=row.evidence)


def kernel(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """KERNEL: sets ``draft.kernel`` and the device it was chosen for."""
    quantization = stored_awq(draft)
    if quantization is None or draft.failed("kernel"):
        return
    if not situation.packages.at_least("transformers", 5):
        draft.kernel = _of_autoawq(situation, quantization.config)
        return
    if (refusal := gptqmodel_device.refused(situation)) is not None:
        yield refusal
        return
    draft.kernel_device = gptqmodel_device.selector_device(situation)
    try:
        draft.kernel = gptqmodel_awq.choose(situation, quantization.config, draft.kernel_device).kernel
    except Unsupported as refused:
        known = gptqmodel_awq.AWQ_KERNELS.row(situation.packages).evidence
        name = gptqmodel_awq.backend_of(quantization.config)
        yield gptqmodel_device.kernel_refused(refused, name, draft.kernel_device, known)


def _of_autoawq(situation: Situation, config: Mapping[str, Any]) -> Kernel:
    """GEMM alone has a backward pass, since autoawq 0.2.0; IPEX multiplies with dequantised weights in training. The rest run outside of autograd."""
    version, module = str(config.get("version") or "gemm").lower(), "awq.modules.linear."
    if config.get("backend") == "llm-awq":
        return Kernel("qmodule", "WQLinear", "autoawq", ("cuda",), False, "awq.quantize.qmodule")
    if version == "gemm" and situation.packages.at_least("transformers", 4, 48) and not cuda.available(situation):
        version = "ipex"
    if version == "exllama":
        given = config.get("exllama_config")
        first = isinstance(given, Mapping) and given.get("version") == 1
        name, class_name = ("exllama", "WQLinear_Exllama") if first else ("exllamav2", "WQLinear_ExllamaV2")
        return Kernel(name, class_name, "autoawq", ("cuda",), False, module + name)
    if version == "ipex":
        return Kernel("gemm_ipex", "WQLinear_IPEX", "autoawq", ("cpu",), True, module + "gemm_ipex")
    trains = version == "gemm" and situation.packages.at_least("autoawq", 0, 2)
    return Kernel(version, f"WQLinear_{version.upper()}", "autoawq", ("cuda",), trains, module + version)
