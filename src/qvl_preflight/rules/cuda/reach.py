"""Can this process reach the driver: its device nodes, and its library for CUDA?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import rule
from qvl_preflight.rules.cuda.causes import judged
from qvl_preflight.rules.cuda.ways_out import WITH_COMPUTE, give_gpu, in_container

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts
    from qvl_preflight.plan import LoadPlan


@rule("QVL106", Severity.ERROR, topic="no-cuda-visible", environment=True)
def container_without_gpus(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The host has a GPU, and this container was started without it.

    ## What happens
    A container sees a GPU only where its runtime passes on the device nodes and the driver's libraries. This one has the host's kernel
    driver and neither of them: `RuntimeError: Found no NVIDIA driver on your system`, although `nvidia-smi` works outside.

    ## Example
    ```python hardware=container-without-gpus
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, in a container that was started with GPUs:
    ```python hardware=container
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: a container must be started anew.
    """
    yield from judged("QVL106", "no-nodes", facts, devices, plan, give_gpu(facts))


@rule(
    "QVL108", Severity.ERROR, topic="no-cuda-visible", symptoms=(r"libcuda\.so(\.1)?: cannot open shared object",), environment=True
)
def driver_library_missing(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The driver is loaded, and its library for CUDA is not to be found.

    ## What happens
    `libcuda.so.1` belongs to the driver, not to CUDA or torch. A container that asks for `NVIDIA_DRIVER_CAPABILITIES=utility` alone has an
    `nvidia-smi` that works and no libcuda; a slim driver package may leave it out. torch raises `RuntimeError: Found no NVIDIA driver on
    your system`.

    ## Example
    ```python hardware=libcuda-missing
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, until that is mended:
    ```python hardware=libcuda-missing
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: nothing on the machine is changed for you.
    """
    if in_container(facts):
        title = "Start the container with the driver's compute libraries"
        remedy = Fix.display(title, WITH_COMPUTE)
    else:
        remedy = Fix.display(
            "Install the driver's compute libraries, of the driver's release", "ldconfig -p | grep libcuda.so.1", "sudo ldconfig"
        )
    yield from judged("QVL108", "no-libcuda", facts, devices, plan, remedy)


@rule("QVL109", Severity.ERROR, topic="no-cuda-visible", symptoms=(r"CUDA driver is a stub library",), environment=True)
def stub_libcuda(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    LD_LIBRARY_PATH leads to the stub of libcuda.

    ## What happens
    The CUDA toolkit ships a `libcuda.so` in `lib64/stubs` for linking on machines without a driver. Where it is found before the driver's
    own, every call fails: `RuntimeError: Unexpected error from cudaGetDeviceCount() … Error 34: CUDA driver is a stub library`.

    ## Example
    ```python hardware=stub-libcuda
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, until that is mended:
    ```python hardware=stub-libcuda
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: environment variables are yours.
    """
    title = "Take the folder stubs out of LD_LIBRARY_PATH; linking needs it in LIBRARY_PATH only"
    yield from judged("QVL109", "stub", facts, devices, plan, Fix.display(title, "unset LD_LIBRARY_PATH"))


@rule(
    "QVL110",
    Severity.ERROR,
    topic="no-cuda-visible",
    symptoms=(r"Failed to initialize NVML: Insufficient Permissions",),
    environment=True,
)
def locked_device_nodes(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    This user may not open the GPU's device nodes.

    ## What happens
    CUDA opens `/dev/nvidiactl`, `/dev/nvidia0` … and `/dev/nvidia-uvm`. Where a group keeps others out, the GPU is there for some users only:
    `RuntimeError: No CUDA GPUs are available`, or `CUDA unknown error` where it is nvidia-uvm alone.

    ## Example
    ```python hardware=locked-nodes
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, until that is mended:
    ```python hardware=locked-nodes
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: nothing on the machine is changed for you.
    """
    remedy = Fix.display(
        "Join the group that owns the nodes and log in again, or ask who runs the machine",
        "ls -l /dev/nvidia*",
        "sudo usermod -aG video $USER",
    )
    yield from judged("QVL110", "locked", facts, devices, plan, remedy)


@rule(
    "QVL113",
    Severity.WARNING,
    topic="no-cuda-visible",
    symptoms=(r"CUDA unknown error - this may be due to an incorrectly set up",),
    environment=True,
)
def missing_uvm_node(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    nvidia-smi works, and CUDA lacks /dev/nvidia-uvm.

    ## What happens
    CUDA needs the node of the module nvidia_uvm beside that of the GPU; nvidia-smi does not. Devices that are passed into a container by
    hand often lack it: `RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment`. The same text follows
    where the module is broken after a suspend.

    ## Example
    ```python hardware=uvm-missing
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, until that is mended:
    ```python hardware=uvm-missing
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: nothing on the machine is changed for you.
    """
    remedy = Fix.display(
        "Load nvidia_uvm on the host and pass the node on", "sudo modprobe nvidia_uvm", "docker run --device /dev/nvidia-uvm …"
    )
    yield from judged("QVL113", "no-uvm", facts, devices, plan, remedy)
