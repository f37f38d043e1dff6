"""What each release does with a GPTQ checkpoint: one row per release, backend, placement and switch.

Rows marked "recorded" happened on an H100, those marked "run" on a stack without a GPU; the rest was read in the sources.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.plan import LoadPlan
from qvl_preflight.testing import STACKS, machine

GPTQ = "TheBloke/Llama-2-7B-Chat-GPTQ"
GUARD = "Found modules on cpu/disk"


def planned(
    root: Path, hardware: str = "a100", packages: dict[str, Any] | None = None, stack: str = "legacy", **call: Any
) -> LoadPlan:
    kwargs = {key: value for key, value in call.items() if key not in ("purpose", "sections", "peft")}
    installed = {**STACKS[stack]["packages"], **(packages or {})}
    facts = machine(hardware, stack, packages=installed, **call.get("sections", {}))
    plan = qvl_preflight.check(str(root / GPTQ), facts=facts, purpose=call.get("purpose"), peft=call.get("peft"), **kwargs).plan
    assert plan is not None
    return plan


def gptq(**fields: Any) -> dict[str, Any]:
    return {"__class__": "GPTQConfig", "bits": 4, **fields}


def first(plan: LoadPlan) -> tuple[str, str] | None:
    return (plan.raises[0].type, plan.raises[0].text) if plan.raises else None


@pytest.mark.parametrize(
    ("transformers", "optimum", "config", "expected"),
    [
        pytest.param("4.32.0", "1.13.2", {}, ("ValueError", GUARD), id="4.32, optimum 1.13, exllama on: guard (recorded)"),
        pytest.param("4.32.0", "1.13.2", {"disable_exllama": True}, ("AssertionError", ""), id="4.32, optimum 1.13, switched off: the seed's assertion (recorded)"),
        pytest.param("4.32.0", "1.16.2", {"disable_exllama": True}, "cuda_old", id="4.32, optimum 1.16, switched off: on the CPU (run)"),
        pytest.param("4.37.2", "1.16.2", {}, ("ValueError", GUARD), id="4.37: guard (recorded)"),
        pytest.param("4.37.2", "1.16.2", {"use_exllama": False}, "cuda_old", id="4.37, use_exllama=False: on the CPU (recorded)"),
        pytest.param("4.37.2", "1.16.2", {"disable_exllama": True}, "cuda_old", id="4.37, disable_exllama=True: still honoured (recorded)"),
        pytest.param("4.45.2", "1.23.3", {}, ("RuntimeError", "no device index"), id="4.45, optimum 1.23: v1 on the CPU (run)"),
        pytest.param("4.45.2", "1.23.3", {"exllama_config": {"version": 2}}, ("AssertionError", ""), id="4.45, optimum 1.23: v2 on the CPU (run)"),
        pytest.param("4.51.3", "1.24.0", {"disable_exllama": True}, ("RuntimeError", "no device index"), id="4.51: disable_exllama is ignored (run)"),
        pytest.param("4.51.3", "1.24.0", {"use_exllama": False}, "cuda_old", id="4.51: use_exllama is read (run)"),
        pytest.param("4.57.1", "2.0.0", {"exllama_config": {"version": 2}}, ("AssertionError", ""), id="4.57, optimum 2.0: v2 on the CPU (run)"),
        pytest.param("4.57.1", "2.0.0", {"backend": "auto_trainable"}, "cuda_old", id="4.57 without gptqmodel: auto_trainable is use_exllama=False"),
    ],
)  # fmt: skip
def test_auto_gptq_without_a_device_map(
    checkpoints: Path, transformers: str, optimum: str, config: dict[str, Any], expected: Any
) -> None:
    """With a GPU in the machine, and the weights on the CPU because nothing says otherwise."""
    versions = {"transformers": transformers, "optimum": optimum, "accelerate": "1.0.1"}
    plan = planned(checkpoints, packages=versions, quantization_config=gptq(**config))
    if isinstance(expected, str):
        assert (plan.raises, plan.devices, plan.to_dict()["kernel"]) == ((), ("cpu",), expected)
    else:
        found = first(plan)
        assert found is not None
        assert found[0] == expected[0]
        assert found[1].startswith(expected[1])
        assert found[1] or not expected[1]


@pytest.mark.parametrize(
    ("transformers", "optimum", "config", "kernel"),
    [
        pytest.param("4.32.0", "1.13.2", {"disable_exllama": True}, "exllamav2", id="optimum 1.13 cannot switch v2 off (recorded)"),
        pytest.param("4.32.0", "1.16.2", {}, "exllamav2", id="4.32 with optimum 1.16: v2 by default"),
        pytest.param("4.37.2", "1.16.2", {}, "exllama", id="4.37: v1 by default (recorded)"),
        pytest.param("4.37.2", "1.16.2", {"exllama_config": {"version": 2}}, "exllamav2", id="4.37: v2 on request (recorded)"),
        pytest.param("4.37.2", "1.16.2", {"use_exllama": False}, "cuda_old", id="4.37: off (recorded)"),
    ],
)
def test_auto_gptq_on_the_gpu(checkpoints: Path, transformers: str, optimum: str, config: dict[str, Any], kernel: str) -> None:
    """The kernel that holds the weights."""
    plan = planned(
        checkpoints,
        packages={"transformers": transformers, "optimum": optimum},
        device_map={"": 0},
        quantization_config=gptq(**config),
    )
    assert (plan.raises, plan.devices, plan.to_dict()["kernel"]) == ((), ("cuda:0",), kernel)


def test_old_auto_gptq_knows_no_exllama_v2(checkpoints: Path) -> None:
    """auto-gptq 0.4.2 with optimum 1.13: v1."""
    plan = planned(checkpoints, packages={"transformers": "4.32.0", "optimum": "1.13.2", "auto-gptq": "0.4.2"}, device_map="auto")
    assert plan.to_dict()["kernel"] == "exllama"


@pytest.mark.parametrize(("loads", "kernel"), [(False, "cuda_old"), (True, "exllama")])
def test_a_compiled_module_that_does_not_load_means_the_plain_kernel(checkpoints: Path, loads: bool, kernel: str) -> None:
    """auto-gptq falls back without a word."""
    plan = planned(checkpoints, device_map={"": 0}, sections={"extensions": {"exllama_kernels": loads, "exllamav2_kernels": loads}})
    assert plan.to_dict()["kernel"] == kernel


def test_a_compiled_module_that_is_not_known_makes_a_warning_at_most(checkpoints: Path) -> None:
    """The seed's assertion is certain only where the kernels are known to load."""
    versions = {"transformers": "4.32.0", "optimum": "1.13.2"}
    plan = planned(checkpoints, packages=versions, quantization_config=gptq(disable_exllama=True), sections={"extensions": None})
    assert plan.raises[0].type == "AssertionError"
    assert plan.raises[0].condition is not None
    assert plan.stops_at is None


@pytest.mark.parametrize(
    ("hardware", "device_map", "config", "expected"),
    [
        pytest.param("a100", None, {}, ("cpu", "torch_aten"), id="no device_map: the CPU, silently (recorded)"),
        pytest.param("a100", "auto", {}, ("cuda:0", "marlin"), id="auto on an A100: Marlin"),
        pytest.param("a100", "cuda", {"backend": "torch"}, ("cuda:0", "torch"), id="torch by name (recorded)"),
        pytest.param("h100", "cuda", {"backend": "exllama_v2"}, ("cuda:0", "exllamav2"), id="exllama_v2 by name (recorded)"),
        pytest.param(
            "h100", {"": 0}, {"backend": "auto_trainable"}, ("cuda:0", "tritonv2"), id="auto_trainable on a GPU (recorded)"
        ),
        pytest.param(
            "a100", "cpu", {"backend": "auto_trainable"}, ("cpu", "torch_aten"), id="auto_trainable on the CPU (recorded)"
        ),
        pytest.param("no-gpu", "cpu", {}, ("cpu", "torch_aten"), id="no GPU (run)"),
    ],
)
def test_gptqmodel(checkpoints: Path, hardware: str, device_map: Any, config: dict[str, Any], expected: tuple[str, str]) -> None:
    """transformers 5.23 with gptqmodel 7.7: device and kernel."""
    plan = planned(checkpoints, hardware, stack="today", device_map=device_map, quantization_config=gptq(**config))
    assert (plan.raises, plan.devices, plan.to_dict()["kernel"]) == ((), (expected[0],), expected[1])


@pytest.mark.parametrize(
    ("hardware", "device_map", "config", "expected"),
    [
        pytest.param("h100-offline", "auto", {}, ("URLError", "<urlopen error"), id="Machete without network (recorded)"),
        pytest.param("no-gpu", "auto", {}, ("ValueError", "Expected a cuda device, but got: cpu"), id="auto without a GPU: Triton on the CPU (run)"),
        pytest.param("a100", None, {"backend": "triton"}, ("ValueError", "<class 'gptqmodel.nn_modules.qlinear.tritonv2.TritonV2Linear'> does not support device: cpu"), id="a GPU kernel on the CPU (recorded)"),
        pytest.param("no-gpu", None, {"backend": "marlin"}, ("ValueError", "Marlin kernel requires CUDA."), id="Marlin without CUDA (run)"),
        pytest.param("a100", "cuda", {"backend": "machete"}, ("ValueError", "<class 'gptqmodel.nn_modules.qlinear.machete.MacheteLinear'> does not support device: cuda:0"), id="Machete on an A100"),
        pytest.param("a100", "cuda", {"backend": "nonsense"}, ("ValueError", "'nonsense' is not a valid BACKEND"), id="a name of nothing (recorded)"),
        pytest.param("a100", "cuda", {"backend": "vllm"}, ("ValueError", "Unsupported backend: `BACKEND.VLLM`"), id="a name of another method"),
        pytest.param("a100", "meta", {}, ("ValueError", "Unsupported selector device family `meta`"), id="meta (run)"),
    ],
)  # fmt: skip
def test_gptqmodel_refuses(
    checkpoints: Path, hardware: str, device_map: Any, config: dict[str, Any], expected: tuple[str, str]
) -> None:
    """Type and beginning of the message."""
    found = first(planned(checkpoints, hardware, stack="today", device_map=device_map, quantization_config=gptq(**config)))
    assert found is not None
    assert (found[0], found[1][: len(expected[1])]) == expected


@pytest.mark.parametrize(
    ("quantization", "device", "expected"),
    [
        pytest.param({"bits": 8}, "cuda", "marlin", id="8 bit: Marlin"),
        pytest.param({"bits": 3}, "cuda", "torch", id="3 bit: the plain kernel"),
        pytest.param({"bits": 4, "group_size": 1024}, "cuda", "tritonv2", id="a large group: Triton"),
        pytest.param({"bits": 4, "sym": False}, "cuda", "exllamav2", id="asymmetric: ExLlamaV2"),
        pytest.param({"bits": 4, "group_size": -1}, "cpu", "torch_fused", id="no groups on the CPU: TorchFused (run)"),
        pytest.param({"bits": 8}, "cpu", "torch", id="8 bit on the CPU: the plain kernel (run)"),
    ],
)
def test_gptqmodel_by_layer(tmp_path: Path, quantization: dict[str, Any], device: str, expected: str) -> None:
    """Bits, group and symmetry decide."""
    import json

    config = {"model_type": "llama", "quantization_config": {"quant_method": "gptq", "group_size": 128, **quantization}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    plan = qvl_preflight.check(str(tmp_path), facts=machine(), device_map=device).plan
    assert plan is not None
    assert plan.to_dict()["kernel"] == expected


def test_gptqmodel_takes_no_group_of_48(tmp_path: Path) -> None:
    """Where no kernel fits, the last one's refusal is what is raised."""
    (tmp_path / "config.json").write_text(
        '{"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 48}}'
    )
    plan = qvl_preflight.check(str(tmp_path), facts=machine(), device_map="cuda").plan
    assert plan is not None
    assert (plan.raises[0].type, "only supports" in plan.raises[0].text) == ("NotImplementedError", True)


@pytest.mark.parametrize(
    ("packages", "config", "fits"),
    [
        pytest.param({"transformers": "4.32.0", "optimum": "1.13.2"}, {}, False, id="the seed's stack: never (recorded)"),
        pytest.param(
            {"transformers": "4.32.0", "optimum": "1.13.2"}, {"disable_exllama": True}, False, id="nor with the switch (recorded)"
        ),
        pytest.param(
            {"transformers": "4.32.0", "optimum": "1.16.2"},
            {"disable_exllama": True},
            True,
            id="with optimum 1.16 and the switch (run)",
        ),
        pytest.param({"transformers": "4.32.0", "optimum": "1.16.2"}, {}, False, id="optimum's default is v2, peft's v1"),
        pytest.param({}, {}, True, id="4.37: both sides take v1 (recorded)"),
        pytest.param({}, {"exllama_config": {"version": 2}}, True, id="4.37: both sides take v2"),
        pytest.param({"peft": "0.19.1"}, {"use_exllama": False}, False, id="peft 0.19 knows no layer of auto-gptq"),
        pytest.param({"peft": "0.5.0"}, {"use_exllama": False}, False, id="peft 0.5 expects v2 whatever is said (run)"),
    ],
)
def test_peft_on_auto_gptq(checkpoints: Path, packages: dict[str, Any], config: dict[str, Any], fits: bool) -> None:
    """Which layers a release of peft can wrap."""
    plan = planned(checkpoints, packages=packages, purpose="qlora", device_map={"": 0}, quantization_config=gptq(**config))
    assert bool(plan.raised("QVL803")) is not fits


def test_an_int8_checkpoint_trains_on_the_seeds_stack(tmp_path: Path) -> None:
    """exllama is for 4 bits only: recorded with a gradient norm of 0.46."""
    (tmp_path / "config.json").write_text(
        '{"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 128}}'
    )
    report = qvl_preflight.check(str(tmp_path), facts=machine("h100", "seed"), purpose="qlora", device_map="cuda")
    assert (report.findings, report.plan.trainable if report.plan else None) == ((), True)


@pytest.mark.parametrize(
    ("targets", "severity"),
    [
        pytest.param(["q_proj", "v_proj"], "error", id="below an exllama layer: nothing"),
        pytest.param(["q_proj", "o_proj"], "warning", id="o_proj writes into the residual stream: it gets one"),
        pytest.param(
            ".*(q_proj|o_proj)", "warning", id="a pattern may hold o_proj: all-linear finds nothing here, see test_lora.py"
        ),
    ],
)
def test_no_gradient_depends_on_the_targets(checkpoints: Path, targets: Any, severity: str) -> None:
    """Recorded: q_proj and v_proj got norm 0."""
    facts = machine("a100", "legacy")
    report = qvl_preflight.check(
        str(checkpoints / GPTQ), facts=facts, purpose="qlora", peft={"target_modules": targets}, device_map={"": 0}
    )
    assert [(f.code, f.severity.value if f.severity else None) for f in report.findings] == [("QVL802", severity)]
