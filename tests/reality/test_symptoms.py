"""Every symptom that a library owns stands in the source of a real stack, or it is said why not.

Run by ``make reality``. Releases that no stack holds are looked into where $QVL_PREFLIGHT_RELEASES names a folder of unpacked ones (NAME-VERSION).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import said_elsewhere
import stacks

from qvl_preflight.diagnosis.causes import causes
from qvl_preflight.diagnosis.squeeze import compiled, literals, squeeze
from qvl_preflight.diagnosis.words import WORDS
from qvl_preflight.symptoms import Symptom, as_symptom

PACKAGES = ("transformers", "accelerate", "peft", "optimum", "auto_gptq", "gptqmodel", "bitsandbytes", "huggingface_hub", "torch")
_SPLIT = re.compile(r"[\"']\s*(?:\\|\+)?\s*\n\s*\+?\s*[rRfFbBuU]{0,2}[\"']")  # a text over several lines
_FIELD = re.compile(r"\{[^{}\n]{1,120}\}")
_CITED = re.compile(r"(?P<package>[\w-]+) (?P<version>\d+(?:\.\d+)+) (?P<file>\S+?\.py)(?::\d+)?")
_NEAR = 600


def owned() -> list[tuple[str, Symptom]]:
    """The symptoms with words, of the rules, the entries and the libraries."""
    every = {id(cause): cause for _, cause in causes()}.values()
    own = [(cause.code, as_symptom(given)) for cause in every for given in cause.symptoms]
    return [(code, symptom) for code, symptom in (*own, *WORDS) if symptom.text]


def site_packages(stack: str) -> Path:
    """Where a stack's packages are; built where it is not there."""
    return next((stacks.build(stack) / "lib").glob("python3*/site-packages"))


@lru_cache(maxsize=64)
def words_of(folder: Path) -> str:
    """The squeezed source of a package, without the models that tell nothing."""
    files = (file for file in sorted(folder.rglob("*.py")) if "models" not in file.parts or "auto" in file.parts)
    texts = (_FIELD.sub("Xx", _SPLIT.sub("", file.read_text(encoding="utf-8", errors="replace"))) for file in files)
    return "\n".join(map(squeeze, texts))


def installed() -> Iterator[Path]:
    """Each package of each stack."""
    for stack in stacks.STEPS:
        yield from (folder for name in PACKAGES if (folder := site_packages(stack) / name).is_dir())


def holds(symptom: Symptom, words: str) -> bool:
    """Do the words stand in a source? What is filled in at run time is looked for on both sides of the gap."""
    pattern = compiled(symptom.text.removeprefix("^").removesuffix("$"))
    for needed in literals(symptom.text) or ("",):
        at = words.find(needed)
        while needed and at >= 0:
            if pattern.search(words, max(0, at - _NEAR), at + len(needed) + _NEAR):
                return True
            at = words.find(needed, at + 1)
    return not literals(symptom.text) and pattern.search(words) is not None


def version_of(folder: Path) -> str:
    """The release of an installed package."""
    pattern = f"{folder.name.replace('_', '[-_]')}-*.dist-info"
    return next((found.name.split("-")[1] for found in folder.parent.glob(pattern)), "")


def cited(symptom: Symptom) -> Path | None:
    """The folder of the release that the symptom cites; None where it is in no stack and not unpacked."""
    found = _CITED.match(symptom.source)
    assert found is not None
    for folder in installed():
        if folder.name.replace("_", "-") == found["package"].replace("_", "-") and f"{version_of(folder)}.".startswith(
            f"{found['version']}."
        ):
            return folder
    unpacked = Path(os.environ.get("QVL_PREFLIGHT_RELEASES", "/nowhere")) / f"{found['package']}-{found['version']}"
    return unpacked if unpacked.is_dir() else None


@pytest.mark.parametrize(("code", "symptom"), [pytest.param(*each, id=f"{each[0]}-{each[1].text[:40]}") for each in owned()])
def test_the_words_stand_in_a_source(code: str, symptom: Symptom) -> None:
    """Where they were read, else in some stack, else there is a reason."""
    if _CITED.match(symptom.source):
        folder = cited(symptom)
        if folder is None:
            pytest.skip(f"read in {symptom.source}, which no stack holds")
        assert holds(symptom, words_of(folder))
    elif not symptom.source and not any(holds(symptom, words_of(folder)) for folder in installed()):
        assert symptom.text in said_elsewhere.REASONS, "in no stack: say in said_elsewhere.py where it stands"
