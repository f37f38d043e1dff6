"""What the machine itself must have: RAM while the weights are read, and afterwards for what stays there; disk for what is offloaded to it.

Sources: transformers 4.32 to 5.23 modeling_utils.py (load_state_dict, low_cpu_mem_usage, init_empty_weights), safetensors 0.8 (tensors of a file are its mapped
pages), accelerate utils/offload.py. What loads on a CPU took is in tests/fitting/test_host.py; of several ranks, and of the disk, it is read alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.memory.weights import WIDTHS
from qvl_preflight.unknown import Undecided, Unknown, attempt
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.fitting.call import Call
    from qvl_preflight.fitting.question import Question
    from qvl_preflight.weight_files import WeightFiles

# Is the model made without weights at first, whatever is asked for? Before, only with device_map, low_cpu_mem_usage or a quantisation.
_EMPTY_FIRST: ByRelease[bool] = ByRelease(
    "transformers",
    Row("4.28", "4.51", False, Evidence.RUN, "transformers 4.36.2, 4.37.2 modeling_utils.py from_pretrained, low_cpu_mem_usage"),
    Row("4.51", None, True, Evidence.RUN, "transformers 4.57.1, 5.23.0; 4.51.3 modeling_utils.py get_init_context"),
)
# Are .bin files mapped? Before, each is read as a whole.
_BIN_MAPPED: ByRelease[bool] = ByRelease(
    "transformers",
    Row("4.28", "4.37", False, Evidence.RUN, "transformers 4.36.2 modeling_utils.py load_state_dict"),
    Row("4.37", None, True, Evidence.RUN, "transformers 4.37.2, 4.57.1, 5.23.0 modeling_utils.py load_state_dict: mmap=True"),
)
PROCESS_BYTES = 1_000_000_000  # Python, torch and its libraries, about


@dataclass(frozen=True)
class HostNeed:
    """``ram_bytes``: memory of the processes themselves, all of this machine together; ``mapped_bytes``: pages of the files, which the system may drop and read
    again. ``why`` says of what the first is made. ``disk_bytes``: what an offload writes."""

    ram_bytes: int | Unknown = 0
    mapped_bytes: int | Unknown = 0
    why: tuple[str, ...] = ()
    processes: int = 1
    limit_bytes: int | Unknown = 0
    free_bytes: int | Unknown = 0
    disk_bytes: int | Unknown = 0
    disk_free_bytes: int | Unknown = 0

    @property
    def ram_verdict(self) -> str:
        """fits, narrowly (only once others let go of RAM), too large, unknown."""
        if isinstance(self.ram_bytes, Unknown) or isinstance(self.limit_bytes, Unknown):
            return "unknown"
        if self.ram_bytes > self.limit_bytes:
            return "too large"
        return "narrowly" if isinstance(self.free_bytes, int) and self.ram_bytes > self.free_bytes else "fits"

    @property
    def disk_verdict(self) -> str:
        """fits, too large, unknown; of the current folder."""
        if isinstance(self.disk_bytes, Unknown) or isinstance(self.disk_free_bytes, Unknown):
            return "unknown" if self.disk_bytes != 0 else "fits"
        return "too large" if self.disk_bytes > self.disk_free_bytes else "fits"


def host_need(question: Question) -> HostNeed:
    """For this call."""
    call, host = question.call, question.call.case.facts.host
    ranks = 1 if call.sharing is None else call.sharing.on_host
    limit, free, disk = (
        (Unknown(host.reason),) * 3
        if isinstance(host, Unknown)
        else (host.ram_total_bytes, host.ram_available_bytes, host.disk_free_bytes)
    )
    try:
        ram, mapped, why, written = _needs(question, ranks)
    except Undecided as undecided:
        unknown = Unknown(undecided.reason)
        return HostNeed(unknown, unknown, (), ranks, limit, free, unknown, disk)
    return HostNeed(ram + ranks * PROCESS_BYTES, mapped, why, ranks, limit, free, written, disk)


def _needs(question: Question, ranks: int) -> tuple[int, int, tuple[str, ...], int]:
    """RAM, mapped pages, of what, and disk. Raises Undecided."""
    call = question.call
    files = call.checkpoint.files
    if isinstance(files, Unknown):
        raise Undecided(files.reason)
    mapped = files.choice.format != "bin" or attempt(lambda: _BIN_MAPPED.value(call.case.packages)) is not False
    stays, disk = _kept_in_ram(question)
    converted = _is_converted(call)
    parts: list[tuple[str, int]] = []
    if made := _made_in_full(call):
        stays = sum(one.total_bytes for one in call.stored())
        parts.append(("the model, made in full before it is filled", ranks * stays))
    elif stays and (converted or not mapped):
        parts.append(("weights, converted as they are read" if converted else "weights", ranks * stays))
    if not mapped and (made or converted or not stays):  # else the weights are what was read
        parts.append(("the largest file, read as a whole", ranks * _largest(call, files)))
    own = made or converted or not mapped
    away = question.estimate.ram_bytes * ranks if call.sharing is not None else 0
    if away:
        parts.append(("what the ranks offload", away))
    why = tuple(f"{text}{f' in each of {ranks} ranks' if ranks > 1 else ''}" for text, size in parts if size)
    return sum(size for _, size in parts), 0 if own else stays, why, disk if converted or files.choice.format == "bin" else 0


def _kept_in_ram(question: Question) -> tuple[int, int]:
    """Bytes of weights that lie in RAM once all is loaded (before a Trainer, or a person, moves them), and on the disk."""
    call, spread = question.call, question.spread
    if isinstance(spread, Unknown):
        raise Undecided(spread.reason)
    if spread is not None:
        sizes = {place: found.total_bytes for place, found in spread.away.items()}
        return sizes.get("cpu", 0), sizes.get("disk", 0)
    straight = (
        call.quantization is not None and not isinstance(call.quantization, Unknown) and call.quantization.method == "bitsandbytes"
    )
    if straight or (call.sharing is not None and call.sharing.stage == 3):
        return 0, 0  # to the GPU at once; ZeRO-3 makes each layer in pieces
    return sum(one.total_bytes for one in call.stored()), 0


def _made_in_full(call: Call) -> bool:
    """Old releases fill the model with numbers first, unless they are told to save RAM."""
    kwargs = call.case.request.kwargs
    if call.device_map is not None or kwargs.get("low_cpu_mem_usage") is True or call.quantization is not None:
        return False
    if call.sharing is not None and call.sharing.stage == 3:
        return False
    return attempt(lambda: _EMPTY_FIRST.value(call.case.packages)) is False


def _is_converted(call: Call) -> bool:
    """Does any weight change its dtype on the way?"""
    weights = call.checkpoint.weights
    if isinstance(weights, Unknown):
        raise Undecided(weights.reason)
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    return (
        any(names.get(tensor.dtype, call.dtype) != call.dtype for tensor in weights.tensors if len(tensor.shape) > 1)
        and call.dtype in WIDTHS
    )


def _largest(call: Call, files: WeightFiles) -> int:
    """The size of the largest file. Raises Undecided where it is not here."""
    folder = os.path.join(call.checkpoint.path, call.checkpoint.asked.subfolder)
    try:
        return max(os.path.getsize(os.path.join(folder, name)) for name in files.names)
    except (OSError, ValueError):
        raise Undecided("how large the files are") from None


def as_dict(need: HostNeed) -> Mapping[str, object]:
    """As JSON: None for what is not known."""
    known = {key: None if isinstance(value, Unknown) else value for key, value in vars(need).items() if key != "why"}
    return {**known, "why": list(need.why), "ram_verdict": need.ram_verdict, "disk_verdict": need.disk_verdict}
