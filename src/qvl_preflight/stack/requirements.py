"""What a release asks of its companions before it can be imported or used at all. Imports nothing that plans a load: the doctor asks this too.

Sources: transformers 4.28.1 to 5.23.0 dependency_versions_table.py and dependency_versions_check.py, utils/import_utils.py is_torch_available; the imports at
module level of peft 0.5.0 to 0.21.2. Run: `import transformers` of 24 releases beside other tokenizers, numpy and huggingface-hub; `import peft` of seven
releases beside older or newer companions; AutoModelForCausalLM of 5.2.0 with torch 2.2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.unknown import Unknown, attempt
from qvl_preflight.versions import ByRelease, Evidence, Row, parse

if TYPE_CHECKING:
    from qvl_preflight.facts import Packages

_RUN, _READ = Evidence.RUN, Evidence.SOURCE


@dataclass(frozen=True)
class Skew:
    """Two packages that do not go together: what is raised, why, and what to install."""

    type: str
    text: str
    why: str
    install: tuple[str, ...]  # for pip, each a remedy of its own
    evidence: Evidence


_Pins = tuple[str, ...]
_OLD_TOKENIZERS = "tokenizers>=0.11.1,!=0.11.3,<0.14"
# In the order in which they are checked. What lies between two releases that were read is given the wider range.
PINS: ByRelease[_Pins] = ByRelease(
    "transformers",
    Row("4.28", "4.31", ("numpy>=1.17", _OLD_TOKENIZERS), _RUN, "transformers 4.28.1"),
    Row("4.31", "4.32", ("numpy>=1.17", _OLD_TOKENIZERS, "huggingface-hub>=0.14.1,<1.0", "safetensors>=0.3.1"), _RUN, "transformers 4.31.0"),
    Row("4.32", "4.34", ("numpy>=1.17", _OLD_TOKENIZERS, "huggingface-hub>=0.15.1,<1.0", "safetensors>=0.3.1"), _RUN, "transformers 4.32.0, 4.33.3"),
    Row("4.34", "4.35", ("numpy>=1.17", "tokenizers>=0.14,<0.15", "huggingface-hub>=0.16.4,<1.0", "safetensors>=0.3.1"), _RUN, "transformers 4.34.1"),
    Row("4.35", "4.36", ("numpy>=1.17", "tokenizers>=0.14,<0.19", "huggingface-hub>=0.16.4,<1.0", "safetensors>=0.3.1"), _READ, "transformers 4.35.2"),
    Row("4.36", "4.37", ("numpy>=1.17", "tokenizers>=0.14,<0.19", "huggingface-hub>=0.19.3,<1.0", "safetensors>=0.3.1"), _RUN, "transformers 4.36.2"),
    Row("4.37", "4.40", ("numpy>=1.17", "tokenizers>=0.14,<0.19", "huggingface-hub>=0.19.3,<1.0", "safetensors>=0.4.1"), _RUN, "transformers 4.37.2"),
    Row("4.40", "4.41", ("numpy>=1.17", "tokenizers>=0.19,<0.20", "huggingface-hub>=0.19.3,<1.0", "safetensors>=0.4.1"), _RUN, "transformers 4.40.2"),
    Row("4.41", "4.42", ("numpy>=1.17", "tokenizers>=0.19,<0.20", "huggingface-hub>=0.23.0,<1.0", "safetensors>=0.4.1"), _RUN, "transformers 4.41.2"),
    Row("4.42", "4.43", ("numpy>=1.17,<2.0", "tokenizers>=0.19,<0.20", "huggingface-hub>=0.23.2,<1.0", "safetensors>=0.4.1"), _RUN, "transformers 4.42.4"),
    Row("4.43", "4.45", ("numpy>=1.17", "tokenizers>=0.19,<0.20", "huggingface-hub>=0.23.2,<1.0", "safetensors>=0.4.1"), _RUN, "transformers 4.43.4"),
    Row("4.45", "4.47", ("numpy>=1.17", "tokenizers>=0.20,<0.21", "huggingface-hub>=0.23.2,<1.0", "safetensors>=0.4.1"), _RUN, "transformers 4.45.2"),
    Row("4.47", "4.49", ("numpy>=1.17", "tokenizers>=0.21,<0.22", "huggingface-hub>=0.24.0,<1.0", "safetensors>=0.4.1"), _RUN, "transformers 4.47.1"),
    Row("4.49", "4.50", ("numpy>=1.17", "tokenizers>=0.21,<0.22", "huggingface-hub>=0.26.0,<1.0", "safetensors>=0.4.1"), _RUN, "transformers 4.49.0"),
    Row("4.50", "4.51", ("numpy>=1.17", "tokenizers>=0.21,<0.22", "huggingface-hub>=0.26.0,<1.0", "safetensors>=0.4.3"), _READ, "transformers 4.50.3"),
    Row("4.51", "4.54", ("numpy>=1.17", "tokenizers>=0.21,<0.22", "huggingface-hub>=0.30.0,<1.0", "safetensors>=0.4.3"), _RUN, "transformers 4.51.3"),
    Row("4.54", "4.56", ("numpy>=1.17", "tokenizers>=0.21,<0.22", "huggingface-hub>=0.34.0,<1.0", "safetensors>=0.4.3"), _RUN, "transformers 4.54.1"),
    Row("4.56", "5.0", ("numpy>=1.17", "tokenizers>=0.22.0,<=0.23.0", "huggingface-hub>=0.34.0,<1.0", "safetensors>=0.4.3"), _RUN, "transformers 4.56.2, 4.57.1"),
    Row("5.0", "5.5", ("numpy>=1.17", "tokenizers>=0.22.0,<=0.23.0", "huggingface-hub>=1.3.0,<2.0", "safetensors>=0.4.3"), _RUN, "transformers 5.0.0, 5.2.0"),
    Row("5.5", "5.11", ("numpy>=1.17", "tokenizers>=0.22.0,<=0.23.0", "huggingface-hub>=1.5.0,<2.0", "safetensors>=0.4.3"), _RUN, "transformers 5.5.0, 5.10.0"),
    Row("5.11", "5.17", ("numpy>=1.17", "tokenizers>=0.22.0,<0.24.0", "huggingface-hub>=1.5.0,<2.0", "safetensors>=0.4.3"), _READ, "between 5.10.0 and 5.17.0"),
    Row("5.17", "5.18", ("numpy>=1.17", "tokenizers>=0.23.1,<0.24.0", "huggingface-hub>=1.5.0,<2.0", "safetensors>=0.8.0"), _RUN, "transformers 5.17.0"),
    Row("5.18", "5.20", ("numpy>=1.17", "tokenizers>=0.23.1,<0.24.0", "huggingface-hub>=1.5.0,<3.0", "safetensors>=0.8.0"), _READ, "between 5.17.0 and 5.20.2"),
    Row("5.20", "5.24", ("numpy>=1.17", "tokenizers>=0.23.1,<0.24.0", "huggingface-hub>=1.31.0,<3.0", "safetensors>=0.8.0"), _RUN, "transformers 5.20.2, 5.23.0"),
)  # fmt: skip
# Names that transformers 5 takes from huggingface-hub before it checks anything.
_HUB_NAMES: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("5.0", "5.20", ("1.0", "is_offline_mode"), _RUN, "transformers 5.0.0 to 5.17.0 beside huggingface-hub 0.36.2"),
    Row("5.20", "5.24", ("1.31", "ResolvedRevision"), _RUN, "transformers 5.23.0 beside huggingface-hub 0.36.0, 1.5.0"),
)


def transformers(packages: Packages) -> Iterator[Skew]:
    """What keeps this transformers from being imported, in the order in which it is met. What is not installed, or not known, is left out."""
    row = attempt(lambda: PINS.row(packages))
    if isinstance(row, Unknown):
        return
    release = _shown(packages, "transformers")
    wrong = [pin for pin in row.value if not _fits(packages, pin)]
    names = attempt(lambda: _HUB_NAMES.value(packages))
    hub = attempt(lambda: packages.release("huggingface-hub"))
    if not isinstance(names, Unknown) and not isinstance(hub, Unknown) and hub is not None and hub < (parse(names[0]) or ()):
        wrong.sort(key=lambda pin: not pin.startswith("huggingface-hub"))
    for pin in wrong:
        name = _name(pin)
        found = _shown(packages, name)
        text = f"{pin} is required for a normal functioning of this module, but found {name}=={found}."
        if pin == wrong[0] and name == "huggingface-hub" and not isinstance(names, Unknown) and not isinstance(hub, Unknown):
            text = f"cannot import name '{names[1]}' from 'huggingface_hub'" if (hub or ()) < (parse(names[0]) or ()) else text
        why = f"transformers {release} takes {pin}, and {name} {found} is installed: import transformers fails"
        yield Skew("ImportError", text, why, (" ".join(f"'{each}'" for each in wrong),), row.evidence)


def _name(pin: str) -> str:
    return re.split(r"[<>=!]", pin)[0]


def _shown(packages: Packages, name: str) -> str:
    found = attempt(lambda: packages.version(name))
    return found if isinstance(found, str) else "?"


def _fits(packages: Packages, pin: str) -> bool:
    """Is the installed release within the pin? What is not installed, or not known, counts as fitting."""
    name = _name(pin)
    release = attempt(lambda: packages.release(name))
    if isinstance(release, Unknown) or release is None:
        return True
    for operator, version in re.findall(r"([<>=!]{1,2})([\d.]+)", pin):
        wanted = parse(version) or ()
        holds = {">=": release >= wanted, "<": release < wanted, "<=": release <= wanted, "!=": release != wanted}
        if not holds[operator]:
            return False
    return True


# peft from a release on, up to another: the package, its first release that has the name, the first that has it no more, the module, the name.
_Name = tuple[str, str | None, str, str | None, str | None, str, str, Evidence]
_PEFT_TAKES: tuple[_Name, ...] = (
    ("0.5", None, "accelerate", "0.21", None, "accelerate.utils", "is_npu_available", _READ),
    ("0.15", None, "accelerate", "0.32", None, "accelerate.utils.memory", "clear_device_cache", _RUN),
    ("0.14", None, "transformers", "4.43", None, "transformers", "EncoderDecoderCache", _RUN),
    ("0.16", "0.18", "transformers", None, "5.0", "transformers", "HybridCache", _RUN),
    ("0.18", "0.18.1", "transformers", "4.52", None, "transformers.modeling_layers", "", _RUN),
    ("0.14", None, "huggingface-hub", "0.25", None, "huggingface_hub.errors", "LocalEntryNotFoundError", _RUN),
)


def peft(packages: Packages) -> Iterator[Skew]:
    """What keeps this peft from being imported."""
    release = attempt(lambda: packages.release("peft"))
    if isinstance(release, Unknown) or release is None:
        return
    for since, until, package, first, gone, module, name, evidence in _PEFT_TAKES:
        if release < (parse(since) or ()) or (until and release >= (parse(until) or ())):
            continue
        other = attempt(lambda package=package: packages.release(package))  # type: ignore[misc]
        if isinstance(other, Unknown) or other is None:
            continue
        early, late = first is not None and other < (parse(first) or ()), gone is not None and other >= (parse(gone) or ())
        if not early and not late:
            continue
        mine, theirs = _shown(packages, "peft"), _shown(packages, package)
        what = f"{name} of {module}" if name else f"the module {module}"
        text = f"cannot import name '{name}' from '{module}'" if name else f"No module named '{module}'"
        other_pin = f"'{package}>={first}'" if early else f"'{package}<{gone}'"
        wanted = (other_pin, f"'peft<{since}'") if early else ("'peft>=0.18'", other_pin)
        why = f"peft {mine} needs {what}, which {package} {theirs} does not have: import peft fails, and with it transformers' Trainer"
        yield Skew("ImportError" if name else "ModuleNotFoundError", text, why, wanted, evidence)


_OLDEST_TORCH: ByRelease[str | None] = ByRelease(
    "transformers",
    Row("4.28", "4.52", None, _READ, "transformers 4.51.3: not tested"),
    Row("4.52", "5.0", "2.1", _READ, "transformers 4.52.4, 4.57.1 utils/import_utils.py:253"),
    Row("5.0", "5.2", "2.2", _READ, "transformers 5.0.0 utils/import_utils.py:116"),
    Row("5.2", "5.11", "2.4", _RUN, "transformers 5.2.0, 5.10.0 utils/import_utils.py"),
    Row("5.11", "5.17", "2.4", _READ, "between 5.10.0 and 5.17.0"),
    Row("5.17", "5.20", "2.5", _READ, "transformers 5.17.0 utils/import_utils.py:195"),
    Row("5.20", None, "2.6", _READ, "transformers 5.20.2, 5.23.0 utils/import_utils.py"),
)


_NO_TORCH: ByRelease[str] = ByRelease(
    "transformers",
    Row("4.28", "5.21", "{} requires the PyTorch library but it was not found in your environment.", _RUN, "transformers 4.37.2, 4.57.1 with torch hidden, 5.2.0"),
    Row("5.21", "5.23", "{} requires ", _READ, "between 5.20.2 and 5.23.0"),
    Row("5.23", None, "{} requires PyTorch >= 2.6, but PyTorch was not found or an older version is installed.", _RUN, "transformers 5.23.0 with torch hidden"),
)  # fmt: skip


def without_torch(packages: Packages, loader: str = "AutoModelForCausalLM") -> str:
    """What a class of transformers says where torch is missing, or counts as such. Raises Undecided."""
    return _NO_TORCH.value(packages).format(loader)


def torch(packages: Packages) -> Iterator[Skew]:
    """A torch that transformers counts as missing: it can be imported, and every model asks for a torch that is there."""
    row = attempt(lambda: _OLDEST_TORCH.row(packages))
    release = attempt(lambda: packages.release("torch"))
    if (
        isinstance(row, Unknown)
        or row.value is None
        or isinstance(release, Unknown)
        or release is None
        or release >= (parse(row.value) or ())
    ):
        return
    mine, theirs = _shown(packages, "transformers"), _shown(packages, "torch")
    text = without_torch(packages)
    why = f"transformers {mine} takes torch from {row.value} on, and counts torch {theirs} as not installed"
    yield Skew("ImportError", text, why, (f"'torch>={row.value}'",), row.evidence)


# gptqmodel that is merely installed: peft asks for its release at every layer that is not of bitsandbytes.
_OLDEST_GPTQMODEL: ByRelease[tuple[str, str]] = ByRelease(
    "peft",
    Row("0.15", "0.19", ("2.0.0", "but only versions above `2.0.0` are supported"), _READ, "peft 0.15.2, 0.18.0 import_utils.py"),
    Row("0.19", "0.20", ("5.6.12", "but only versions above `5.6.12` are supported"), _READ, "peft 0.19.0 import_utils.py:51"),
    Row("0.20", None, ("7.0.0", "but only versions `7.0.0` or higher are supported"), _RUN, "peft 0.21.2 import_utils.py:70"),
)


def gptqmodel_beside_peft(packages: Packages) -> Iterator[Skew]:
    """An old gptqmodel, or one without its optimum, which stops every get_peft_model over plain and GPTQ layers."""
    row, release = attempt(lambda: _OLDEST_GPTQMODEL.row(packages)), attempt(lambda: packages.release("gptqmodel"))
    optimum = attempt(lambda: packages.release("optimum"))
    if isinstance(row, Unknown) or isinstance(release, Unknown) or release is None or isinstance(optimum, Unknown):
        return
    oldest, mine = parse(row.value[0]) or (), _shown(packages, "peft")
    if release < oldest:
        theirs = _shown(packages, "gptqmodel")
        text = f"Found an incompatible version of gptqmodel. Found version `{theirs}`, {row.value[1]}"
        why = f"peft {mine} takes gptqmodel from {row.value[0]} on, and refuses every adapter while {theirs} is installed"
        yield Skew("ImportError", text, why, (f"'gptqmodel>={row.value[0]}'",), row.evidence)
    elif row.value[0] == "5.6.12" and release >= (7,):
        text = "cannot import name 'AwqGEMMQuantLinear' from 'gptqmodel.nn_modules.qlinear.gemm_awq'"
        why = f"peft {mine} takes a class of gptqmodel that {_shown(packages, 'gptqmodel')} calls otherwise, and stops at every adapter while it is installed"
        yield Skew("ImportError", text, why, ("'peft>=0.20'", "'gptqmodel<6'"), _RUN)
    elif optimum is None or optimum < (1, 24):
        tail = "to be installed." if optimum is None else f"Found version `{_shown(packages, 'optimum')}`"
        text = f"gptqmodel requires optimum version `1.24.0` or higher{' ' if optimum is None else '. '}{tail}"
        why = f"gptqmodel is installed without an optimum from 1.24 on, and peft {mine} then refuses every adapter"
        yield Skew("ImportError", text, why, ("'optimum>=1.24'",), row.evidence)


# torchao that is merely installed: peft asks for it at every layer that has a `weight` and is wrapped by none before it.
_OLDEST_TORCHAO: ByRelease[str] = ByRelease(
    "peft",
    Row("0.14", "0.19", "0.4.0", _READ, "peft 0.14.0, 0.18.0 import_utils.py:131"),
    Row("0.19", None, "0.16.0", _RUN, "peft 0.21.2 import_utils.py:150 beside torchao 0.14.1 to 0.18.0"),
)


def torchao_beside_peft(packages: Packages) -> Iterator[Skew]:
    """A torchao that this peft does not take, which stops every get_peft_model over plain layers (run: 0.18.0 and 0.21.2 beside 0.14.1 to 0.18.0)."""
    row, release = attempt(lambda: _OLDEST_TORCHAO.row(packages)), attempt(lambda: packages.release("torchao"))
    if isinstance(row, Unknown) or isinstance(release, Unknown) or release is None:
        return
    mine, theirs = _shown(packages, "peft"), _shown(packages, "torchao")
    if release < (parse(row.value) or ()):
        text = (
            f"Found an incompatible version of torchao. Found version {theirs}, but only versions above {row.value} are supported"
        )
        why = (
            f"peft {mine} takes torchao from {row.value} on, and refuses every adapter on plain layers while {theirs} is installed"
        )
        yield Skew("ImportError", text, why, (f"'torchao>={row.value}'",), row.evidence)
    elif row.value == "0.4.0" and release >= (0, 18):
        text = "cannot import name 'LinearActivationQuantizedTensor' from 'torchao.quantization'"
        why = f"peft {mine} takes a name of torchao that {theirs} no longer has, and stops at every adapter on plain layers while it is installed"
        yield Skew("ImportError", text, why, ("'peft>=0.19'", "'torchao<0.18'"), _RUN)


def beside_peft(packages: Packages) -> Iterator[Skew]:
    """What stops get_peft_model over plain layers, in the order in which it is met."""
    yield from gptqmodel_beside_peft(packages)
    yield from torchao_beside_peft(packages)
