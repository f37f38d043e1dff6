"""QVL7xx: a job whose launcher, DeepSpeed configuration and TrainingArguments do not go together."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.devices import Devices, is_rank
from qvl_preflight.facts import Launch
from qvl_preflight.plan import LoadPlan
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.unknown import Unknown


def _launch(devices: Devices | Unknown) -> Fix:
    count = 1 if isinstance(devices, Unknown) else max(1, len(devices.visible))
    return Fix.display("Start one process per GPU", f"torchrun --nproc_per_node {count} train.py")


@rule(
    "QVL709",
    Severity.ERROR,
    topic="fsdp-alone",
    symptoms=(r"Using fsdp only works in distributed training", r"Using --fsdp xxx together with --deepspeed"),
)
def fsdp_alone(plan: LoadPlan, devices: Devices) -> Iterator[Finding]:
    """
    FSDP is asked for in a process without ranks, or beside DeepSpeed.

    ## What happens
    Trainer refuses both: `ValueError: Using fsdp only works in distributed training.` where no launcher started the process, and `Using --fsdp xxx
    together with --deepspeed is not possible`.

    ## Example
    ```python purpose=full trainer=fsdp
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```
    Use instead, started by torchrun:
    ```python hardware=rank-1-of-2 purpose=full trainer=fsdp
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: it is a matter of how the script is started.
    """
    yield from as_planned(plan, "QVL709", lambda raised: _launch(devices) if "distributed" in raised.text else None)


@rule(
    "QVL710",
    Severity.WARNING,
    topic="deepspeed-no-launcher",
    symptoms=(r"No module named 'mpi4py'", r"'DummyOptim' object has no attribute 'step'"),
)
def deepspeed_without_launcher(plan: LoadPlan, devices: Devices) -> Iterator[Finding]:
    """
    DeepSpeed is asked for, and no launcher started the process.

    ## What happens
    DeepSpeed takes rank and address from variables that a launcher sets. Without them it asks MPI: `ModuleNotFoundError: No module named
    'mpi4py'`. Older releases of accelerate prepare an optimizer for DeepSpeed and never start it: `AttributeError: 'DummyOptim' object has no
    attribute 'step'`.

    ## Example
    ```python stack=today-deepspeed purpose=full trainer={"deepspeed":{"zero_optimization":{"stage":2}}}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```
    Use instead, started by torchrun, deepspeed or accelerate launch:
    ```python hardware=rank-1-of-2 stack=today-deepspeed purpose=full trainer={"deepspeed":{"zero_optimization":{"stage":2}}}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: it is a matter of how the script is started.
    """
    yield from as_planned(plan, "QVL710", _launch(devices))


@rule(
    "QVL711",
    Severity.ERROR,
    topic="deepspeed-values",
    symptoms=(r"Please correct the following DeepSpeed config values that mismatch", r"arg cannot be set to `(fp16|bf16)` when"),
)
def contradicting_deepspeed_values(plan: LoadPlan) -> Iterator[Finding]:
    """
    The DeepSpeed configuration contradicts TrainingArguments.

    ## What happens
    Batch size, accumulation, clipping, learning rate and precision stand in both. Where a value of the DeepSpeed configuration is not `"auto"` and
    not the one of TrainingArguments, training stops before its first step: `ValueError: Please correct the following DeepSpeed config values that
    mismatch TrainingArguments values`.

    ## Example
    ```python hardware=rank-1-of-2 stack=today-deepspeed purpose=full trainer={"per_device_train_batch_size":2,"deepspeed":{"train_micro_batch_size_per_gpu":4}}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```
    Use instead:
    ```python hardware=rank-1-of-2 stack=today-deepspeed purpose=full trainer={"per_device_train_batch_size":2,"deepspeed":{"train_micro_batch_size_per_gpu":"auto"}}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: it is a line of the DeepSpeed configuration.
    """
    yield from as_planned(plan, "QVL711", Fix.display('Write "auto" for these values in the DeepSpeed configuration'))


@rule(
    "QVL715",
    Severity.ERROR,
    topic="deepspeed-missing",
    symptoms=(
        r"The 'deepspeed>=[\d.]+' distribution was not found",
        r"DeepSpeed is not installed => run",
        r"deepspeed>=[\d.]+ is required for a normal functioning",
    ),
)
def deepspeed_missing(plan: LoadPlan) -> Iterator[Finding]:
    """
    DeepSpeed is asked for, and it is not installed or too old.

    ## What happens
    TrainingArguments look for it as soon as they are made, on a CPU as well: `PackageNotFoundError: No package metadata was found for The
    'deepspeed>=0.9.3' distribution was not found and is required by this application.` Where accelerate's configuration asks for it, `accelerate
    launch` starts nothing: `ImportError: DeepSpeed is not installed`.

    ## Example
    ```python hardware=rank-1-of-2 purpose=full trainer={"deepspeed":{"zero_optimization":{"stage":2}}}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```
    Use instead, once it is installed:
    ```python hardware=rank-1-of-2 stack=today-deepspeed purpose=full trainer={"deepspeed":{"zero_optimization":{"stage":2}}}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: it changes the environment, or the job.
    """
    fix = Fix.display("Install DeepSpeed, or leave deepspeed= out: one GPU needs none", "pip install deepspeed")
    yield from as_planned(plan, "QVL715", fix)


@rule("QVL712", Severity.WARNING, topic="visible-devices", symptoms=(r"CUDA error: invalid device ordinal",))
def more_processes_than_gpus(request: Request, launch: Launch, devices: Devices) -> Iterator[Finding]:
    """
    The job starts more processes on this host than it has GPUs.

    ## What happens
    Each process takes the GPU of its number. The first one without a GPU stops with `invalid device ordinal`, and the others wait for it. The
    ranks that have a GPU see no fault of their own: it is said in each of them.

    ## Example
    ```python hardware=four-processes-two-gpus purpose=full
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```
    Use instead, with `num_processes: 2` in accelerate's configuration:
    ```python hardware=rank-1-of-2 purpose=full
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: it is a matter of how the job is started.
    """
    if isinstance(launch, Unknown) or not is_rank(launch) or launch.launcher == "slurm":
        return
    if isinstance(devices, Unknown) or request.trains_on_cpu or any(gpu.mig is True for gpu in devices.physical):
        return
    processes, gpus, rank = launch.local_world_size, len(devices.visible), launch.local_rank
    if isinstance(rank, int) and (rank >= gpus or (gpus == 1 and devices.setting is not None)):
        return  # QVL207 speaks of a rank without a GPU; and a launcher can show each rank one of its own
    if isinstance(processes, int) and processes > gpus > 0:
        message = f"{processes} processes are started on this host, and {gpus} GPU{'s are' if gpus != 1 else ' is'} visible: {processes - gpus} of them have none"
        command = (
            f"accelerate launch --num_processes {gpus} …"
            if launch.launcher == "accelerate"
            else f"torchrun --nproc_per_node {gpus} …"
        )
        yield Finding(message, "import", fix=Fix.display("Start one process per GPU", command))


@rule(
    "QVL713",
    Severity.ERROR,
    topic="deepspeed-values",
    symptoms=(r"When using `deepspeed_config_file`, the following accelerate config variables",),
)
def settings_beside_a_deepspeed_file(plan: LoadPlan) -> Iterator[Finding]:
    """
    accelerate's configuration names a DeepSpeed file, and sets beside it what belongs there.

    ## What happens
    With `deepspeed_config_file`, precision, accumulation, clipping, stage and offload are read from that file alone. accelerate refuses them in
    its own: `ValueError: When using deepspeed_config_file, the following accelerate config variables will be ignored`. `mixed_precision: 'no'`
    counts as well.

    ## Example
    ```python hardware=rank-1-of-2 stack=today-deepspeed purpose=full trainer={"beside_deepspeed_config_file":["mixed_precision"],"deepspeed":{"zero_optimization":{"stage":2}}}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```
    Use instead, without the line:
    ```python hardware=rank-1-of-2 stack=today-deepspeed purpose=full trainer={"deepspeed":{"zero_optimization":{"stage":2}}}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: they are lines of accelerate's configuration.
    """
    yield from as_planned(
        plan, "QVL713", Fix.display("Take these lines out of accelerate's configuration, and write them into the DeepSpeed file")
    )


@rule(
    "QVL714",
    Severity.WARNING,
    topic="deepspeed-cuda-mismatch",
    symptoms=(
        r"unable to compile CUDA op",
        r"Unable to JIT load the \w+ op",
    ),
)
def deepspeed_without_its_tools(plan: LoadPlan) -> Iterator[Finding]:
    """
    DeepSpeed would compile its optimizer, and the tools for that are not here.

    ## What happens
    An optimizer that is offloaded becomes DeepSpeedCPUAdam, and `"type": "AdamW"` in the configuration becomes FusedAdam. Both are compiled at their
    first use unless DeepSpeed was installed with its operators built. On a machine with a GPU that takes ninja and a CUDA toolkit of torch's
    major release: `MissingCUDAException: CUDA_HOME does not exist`, or `CUDAMismatchException`.

    ## Example
    ```python hardware=rank-without-nvcc stack=today-deepspeed purpose=full trainer={"deepspeed":{"zero_optimization":{"stage":2,"offload_optimizer":{"device":"cpu"}}}}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```
    Use instead, or with a CUDA toolkit:
    ```python hardware=rank-without-nvcc stack=today-deepspeed purpose=full trainer={"deepspeed":{"zero_optimization":{"stage":2}}}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: it is a matter of the machine, or of the DeepSpeed configuration.
    """
    remedy = Fix.display(
        'Install the CUDA toolkit that torch is built for; or do without: "torch_adam": true, or no offload_optimizer'
    )
    yield from as_planned(plan, "QVL714", remedy)
