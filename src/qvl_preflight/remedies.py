"""The corrections that rules hand out, worked out once for a call: where it belongs, which kernel trains, what to install."""

from __future__ import annotations

from functools import cached_property

from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan, Situation
from qvl_preflight.report import Applicability, Edit, Fix
from qvl_preflight.request import ConfigObject, show
from qvl_preflight.stack.cuda import available
from qvl_preflight.stack.gptq_environment import backend_package
from qvl_preflight.stack.transformers import RENAMES_TORCH_DTYPE, zero3
from qvl_preflight.unknown import Undecided, Unknown, attempt, need


class Remedies:
    """What can be done about this call, on this machine, with these releases."""

    def __init__(self, situation: Situation, plan: LoadPlan) -> None:
        self._situation = situation
        self._request = situation.request
        self._plan = plan

    @cached_property
    def release(self) -> tuple[int, ...]:
        """Of transformers; (0,) where unknown: callers compare with `>=` and then do the older thing."""
        found = attempt(lambda: self._situation.packages.release("transformers"))
        return (0,) if isinstance(found, Unknown) or found is None else found

    @property
    def dtype_key(self) -> str:
        """What this release calls the dtype; the older name where it is unknown, which all of them read."""
        return "dtype" if self.release >= RENAMES_TORCH_DTYPE else "torch_dtype"

    def edit(self, title: str, applicability: Applicability, **edits: object) -> Fix:
        """A fix that sets kwargs of this call; ``__`` stands for the dot of a path."""
        return Fix.of(title, applicability, self._request, **edits)

    def on_gpu(self) -> Fix | None:
        """Put the whole model on the GPU of this process; spread it where only several have room together.

        None where no GPU can be named, nothing has room, or a launch that shards the model places it.
        """
        home = self._situation.home
        if home is None or not self._cuda or self.sharded:
            return None
        if self._has_room(home.ordinal):
            return self.edit(f"Place the model on {home}", Applicability.SAFE, device_map={"": home.ordinal})
        devices = self._situation.devices
        together = (
            isinstance(devices, Unknown)
            or sum(free for gpu in devices.visible if isinstance(free := gpu.free_bytes, int)) > self._bytes
        )
        if together and not self._request.trains and not isinstance(devices, Unknown) and len(devices.visible) > 1:
            return self.edit(
                "Spread the model over the visible GPUs: none has room for all of it", Applicability.SAFE, device_map="auto"
            )
        return None

    @cached_property
    def _bytes(self) -> int:
        size = attempt(lambda: need(self._situation.checkpoint.total_bytes))
        return 0 if isinstance(size, Unknown) else size

    def _has_room(self, ordinal: int) -> bool:
        """Unknown sizes count as fitting: the placement is right wherever the model fits at all."""
        devices = self._situation.devices
        free = None if isinstance(devices, Unknown) else devices.visible[ordinal].free_bytes
        return not isinstance(free, int) or free > self._bytes

    @property
    def sharded(self) -> bool:
        """Does ZeRO-3 or FSDP place the weights, or may it, by a configuration that was not read?"""
        launch, trainer = self._situation.facts.launch, self._request.trainer or {}
        fsdp = (not isinstance(launch, Unknown) and launch.fsdp is True) or bool(trainer.get("fsdp"))
        return fsdp or zero3(self._situation) or isinstance(trainer.get("deepspeed"), str)

    def on_cpu(self) -> Fix:
        """Say what happens anyway."""
        return self.edit("Place the model on the CPU, the only device here", Applicability.SAFE, device_map="cpu")

    def on_the_named_device(self) -> Fix | None:
        """The whole model on the one device that a map names: the GPU of this process, where it has room, or the CPU where there is no other."""
        named, home, fix = set(self._request.named_devices), self._situation.home, self.on_gpu()
        if named == {"cpu"} and self.no_gpu and not self.sharded:
            return self.on_cpu()
        if fix is None or home is None or not named <= {"cuda", f"cuda:{home.ordinal}"}:
            return None
        return fix if fix.edits[0].after == {"": home.ordinal} else None

    @cached_property
    def _cuda(self) -> bool:
        can = attempt(lambda: available(self._situation))
        return not isinstance(can, Unknown) and can

    @property
    def has_gpu(self) -> bool:
        """Can this process use a GPU, as far as is known?"""
        return self._cuda

    @property
    def no_gpu(self) -> bool:
        """Is it known that this process has none?"""
        return attempt(lambda: available(self._situation)) is False

    def other_kernel(self, title: str, *, train: bool) -> Fix | None:
        """Choose a kernel that runs on any device and, with ``train``, passes gradients; as this release spells it.

        None where no kwarg does it: optimum before 1.14 cannot switch exllama v2 off.
        """
        try:
            return self._other_kernel(title, train)
        except Undecided:
            return None

    @cached_property
    def awq(self) -> bool:
        """Is it an AWQ model? Its kernels are asked for with another class, by other names."""
        quantization = self._plan.quantization
        return not isinstance(quantization, Unknown) and quantization is not None and quantization.method == "awq"

    def _other_kernel(self, title: str, train: bool) -> Fix | None:
        if self.awq and self.release < (5,):
            given, stored = self._request.get("quantization_config.version"), self._situation.checkpoint.quantization or {}
            other = given not in (MISSING, None, "gemm") and str(stored.get("version") or "gemm").lower() == "gemm"
            return self._set_quantization(title, "version", "gemm") if other and self.release >= (4, 39) else None
        if backend_package(self._situation) == "gptqmodel":
            return self._set_quantization(title, "backend", "auto_trainable" if train else "auto")
        if not self._situation.packages.at_least("optimum", 1, 14):
            return None
        if self.release < (4, 35):
            return self._set_quantization(title, "disable_exllama", True)
        return self._set_quantization(title, "use_exllama", False)

    @property
    def has_triton(self) -> bool:
        """Triton compiles at the first forward with a C compiler; unknown counts as there."""
        triton = attempt(lambda: self._situation.packages.has("triton"))
        build = self._situation.facts.build
        compiler = True if isinstance(build, Unknown) or isinstance(build.cxx, Unknown) else build.cxx
        return compiler and (isinstance(triton, Unknown) or triton)

    def kernel_by_name(self, title: str, name: str) -> Fix:
        """Ask gptqmodel for one kernel, by the name that it has for GPTQ."""
        name = {"triton": "gemm_triton", "torch": "torch_awq"}.get(name, name) if self.awq else name
        return self._set_quantization(title, "backend", name)

    def _set_quantization(self, title: str, key: str, value: object) -> Fix:
        passed = self._request.kwargs.get("quantization_config")
        class_name = "AwqConfig" if self.awq else "GPTQConfig"
        if not isinstance(passed, ConfigObject) or passed.class_name != class_name:
            stored = self._situation.checkpoint.quantization or {}
            whole = ConfigObject(class_name, {"bits": stored.get("bits", 4), key: value})
            return self.edit(title, Applicability.REQUIRED, quantization_config=whole)
        edits = [Edit(f"quantization_config.{key}", passed.fields.get(key, MISSING), value)]
        if key == "use_exllama" and passed.fields.get("disable_exllama") is not None:
            # 4.35 to 4.50 refuse both spellings at once.
            edits.append(Edit("quantization_config.disable_exllama", passed.fields["disable_exllama"], MISSING))
        return Fix(title, Applicability.REQUIRED, tuple(edits))

    def install_for_training(self) -> Fix:
        """The releases that make 4-bit GPTQ or AWQ trainable where no kwarg does."""
        if self.awq and self.release < (5,):
            return Fix.display(
                "Install a stack that trains AWQ", "pip install 'transformers>=5' 'peft>=0.21' 'gptqmodel>=7.7' 'optimum>=2.3'"
            )
        if self.release >= (5,) or self._gptqmodel:
            return Fix.display("Install a stack that trains GPTQ", "pip install 'peft>=0.21' 'gptqmodel>=7.7' 'optimum>=2.3'")
        wanted = self._trainable_pins()
        return (
            Fix.display(f"Install {' and '.join(wanted.values())}", f"pip install {' '.join(wanted)}")
            if wanted
            else Fix.display("Use a stack that trains GPTQ")
        )

    def _trainable_pins(self) -> dict[str, str]:
        """What to install, and why."""
        optimum = attempt(lambda: self._situation.packages.release("optimum"))
        peft = attempt(lambda: self._situation.packages.release("peft"))
        wanted = {}
        if isinstance(optimum, Unknown) or optimum is None or optimum < (1, 14):
            wanted["'optimum>=1.14,<1.23'"] = "an optimum that can switch exllama v2 off"
        if isinstance(peft, Unknown) or peft is None or not (0, 6, 2) <= peft < (0, 19):
            wanted["'peft>=0.6.2,<0.19'"] = "a peft that knows these layers"
        return wanted

    @property
    def _gptqmodel(self) -> bool:
        return attempt(lambda: backend_package(self._situation)) == "gptqmodel"

    @property
    def peft_without_auto_gptq(self) -> bool:
        """Does the installed peft know no layer of auto-gptq (0.19 on)?"""
        peft = attempt(lambda: self._situation.packages.release("peft"))
        return not isinstance(peft, Unknown) and peft is not None and peft >= (0, 19)

    def without(self, key: str, title: str | None = None, applicability: Applicability = Applicability.SAFE) -> Fix:
        """Drop one kwarg."""
        value = self._request.get(key)
        return Fix(title or f"Drop {key}={show(value)}", applicability, (Edit(key, value, MISSING),))

    def one_gpu_command(self) -> Fix:
        """For a Trainer that would spread over all GPUs: show one GPU, or start a process for each."""
        devices = self._situation.devices
        count = 2 if isinstance(devices, Unknown) else len(devices.visible)
        return Fix.display(
            "Show one GPU to the process, or start one process per GPU",
            "CUDA_VISIBLE_DEVICES=0 python train.py",
            f"torchrun --nproc_per_node {count} train.py",
        )
