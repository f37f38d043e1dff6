"""What is known of the machine confirms a cause, or refutes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qvl_preflight.devices import visible_devices
from qvl_preflight.diagnosis.result import Diagnosis
from qvl_preflight.diagnosis.spans import SPAN
from qvl_preflight.diagnosis.what_to_do import WHAT_TO_DO
from qvl_preflight.environment import examine
from qvl_preflight.facts import Facts, Gpu, Packages
from qvl_preflight.unknown import Undecided, Unknown
from qvl_preflight.versions import parse

# One symptom, many causes: what the doctor finds on the machine is the one.
_CUDA = frozenset(
    {"no-cuda-visible", "visible-devices-env", "torch-cpu-build", "driver-too-old", "bnb-no-cuda", "awq-no-cuda", "bnb-missing"}
)
_SURE, HALF = 0.99, 0.5


def weighed(found: tuple[Diagnosis, ...], facts: Facts) -> tuple[Diagnosis, ...]:
    """The causes with what the machine says to them, best first."""
    if not found:
        return found
    weighed = [_refuted(each, facts) for each in found]
    seen = [each for each in examine(facts).findings if each.severity and each.severity.rank < 2]
    topics, evidence = {each.topic: each for each in weighed}, weighed[0].evidence
    asks_cuda = any(topic in _CUDA for topic in topics)
    sure = []
    for each in seen:
        before = topics.get(each.topic)
        if before is None and not (asks_cuda and each.topic in _CUDA):
            continue
        fix = "; ".join([each.fix.title, *each.fix.commands]) if each.fix else before.fix if before else ""
        evidence = before.evidence if before else next(one.evidence for one in weighed if one.topic in _CUDA)
        sure.append(Diagnosis(each.code, each.topic, each.name, each.message, _SURE, fix, evidence))
    rest = [each for each in weighed if each.topic not in {one.topic for one in sure}]
    return (*sure, *sorted(rest, key=lambda each: -each.confidence))


def against(code: str, topic: str, facts: Facts) -> str:
    """Why what is known rules the cause out; empty where it does not."""
    for causes, speaks_against, why in _AGAINST:
        try:
            if (topic in causes or code in causes) and speaks_against(facts):
                return why
        except Undecided:
            continue
    return ""


def _refuted(found: Diagnosis, facts: Facts) -> Diagnosis:
    if why := against(found.code, found.topic, facts):
        return replace(found, confidence=round(found.confidence * HALF, 2), message=f"{found.message} (But {why}.)")
    if found.code == "QVL393" and _without_cuda(facts):
        said = "bitsandbytes is refused because this torch is built without CUDA; the packages that the message names are not what is missing."
        return replace(found, message=said, fix=WHAT_TO_DO["QVL102"])
    return found


def _gpus(facts: Facts) -> tuple[Gpu, ...]:
    """The GPUs that the process sees; raises Undecided."""
    devices = visible_devices(facts)
    if isinstance(devices, Unknown):
        raise Undecided(devices.reason)
    return devices.visible


def _capability(*least: int) -> Callable[[Facts], bool]:
    def newer(facts: Facts) -> bool:
        found = [gpu.capability for gpu in _gpus(facts)]
        return bool(found) and all(not isinstance(each, Unknown) and each is not None and tuple(each) >= least for each in found)

    return newer


def _sees_a_gpu(facts: Facts) -> bool:
    return bool(_gpus(facts))


def _one_gpu(facts: Facts) -> bool:
    return len(_gpus(facts)) == 1


def _at_least(name: str, *least: int) -> Callable[[Facts], bool]:
    return lambda facts: Packages(facts).has(name) and Packages(facts).at_least(name, *least)


def _below(name: str, *least: int) -> Callable[[Facts], bool]:
    return lambda facts: Packages(facts).has(name) and not Packages(facts).at_least(name, *least)


def _has(*names: str) -> Callable[[Facts], bool]:
    return lambda facts: all(Packages(facts).has(name) for name in names)


def _bnb_could_run(facts: Facts) -> bool:
    """Beside a torch without CUDA the message is expected, and its true cause known."""
    return _has("bitsandbytes", "accelerate")(facts) and not _without_cuda(facts)


def _takes_the_move(facts: Facts) -> bool:
    return _at_least("transformers", 4, 45)(facts) and _at_least("bitsandbytes", 0, 43, 2)(facts)


def _without_cuda(facts: Facts) -> bool:
    return not isinstance(facts.torch, Unknown) and facts.torch.cuda_build is False


def _built_with_cuda(facts: Facts) -> bool:
    return not isinstance(facts.torch, Unknown) and isinstance(facts.torch.cuda_build, str)


# Topics or codes, what speaks against them, and how it is said.
_AGAINST: tuple[tuple[frozenset[str], Callable[[Facts], bool], str], ...] = (
    (frozenset({"no-cuda-visible", "visible-devices-env", "bnb-no-cuda", "awq-no-cuda"}), _sees_a_gpu, "this process sees a GPU"),
    (frozenset({"torch-cpu-build"}), _built_with_cuda, "this torch is built with CUDA"),
    (frozenset({"bf16-unsupported", "flash-attn-arch"}), _capability(8, 0), "the GPUs have compute capability 8.0 or later"),
    (frozenset({"fp8-capability"}), _capability(8, 9), "the GPUs have compute capability 8.9 or later"),
    (frozenset({"bnb-low-capability"}), _capability(7, 5), "the GPUs have compute capability 7.5 or later"),
    (frozenset({"multi-gpu-split", "dataparallel-split", "device-map-ddp"}), _one_gpu, "this process sees one GPU"),
    (frozenset({"flash-attn-missing"}), _has("flash-attn"), "flash-attn is installed"),
    (frozenset({"bnb-missing"}), _bnb_could_run, "bitsandbytes and accelerate are installed: the message misleads"),
    (frozenset({"QVL601"}), _has("accelerate"), "accelerate is installed, in this interpreter or another"),
    (frozenset({"QVL715"}), _has("deepspeed"), "deepspeed is installed, in this interpreter or another"),
    (frozenset({"QVL337"}), _at_least("accelerate", 0, 20), "this accelerate knows 4-bit weights"),
    (frozenset({"QVL336"}), _below("accelerate", 1, 2), "accelerate before 1.2 does not move such a model"),
    (frozenset({"QVL336"}), _takes_the_move, "transformers from 4.45 on with bitsandbytes from 0.43.2 on takes that"),
    (frozenset({"torch-load-cve"}), _at_least("torch", 2, 6), "this torch is 2.6 or later"),
    (frozenset({"bnb-triton-skew"}), _at_least("bitsandbytes", 0, 45, 3), "this bitsandbytes does not import triton.ops"),
    (frozenset({"bnb-triton-skew"}), _below("torch", 2, 6), "this torch is older than 2.6"),
)  # fmt: skip


def has_already(more: str, facts: Facts) -> str:
    """The installed transformers, where ``more`` says that it has what was not found; else empty."""
    span = SPAN.search(more)
    try:
        installed, packages = Packages(facts).release("transformers"), Packages(facts)
        if span is None or installed is None or installed < (parse(span["since"]) or ()):
            return ""
        later = span["last"] is not None and installed[:2] > (parse(span["last"]) or ())[:2]
        return "" if later else f"transformers {packages.version('transformers')}"
    except Undecided:
        return ""


def said_by_other_releases(releases: str, facts: Facts) -> bool:
    """Does the release that is known word it otherwise? ``transformers:4.36-4.54``."""
    package, _, span = releases.partition(":")
    since, _, until = span.partition("-")
    try:
        found = Packages(facts).release(package)
    except Undecided:
        return False
    if found is None or not span:
        return False
    return found < (parse(since) or ()) or bool(until and found >= (parse(until) or ()))
