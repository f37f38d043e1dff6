"""The checkpoint's own code: what it lacks on a machine, in the words of each release, and where nothing may be said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Severity
from qvl_preflight.testing import STACKS, machine
from qvl_preflight.testing.own_code import CONFIG, write_own_code

FOUND = "This modeling file requires the following packages that were not found in your environment: "
CODES = ("QVL910", "QVL911", "QVL912", "QVL914")
TSG = "def f():\n    from transformers_stream_generator.main import NewGenerationMixin"


def raised(
    folder: Path, release: str = "4.37.2", packages: dict[str, Any] | None = None, **call: Any
) -> list[tuple[str, str, str]]:
    installed = {**STACKS["legacy"]["packages"], "transformers": release, **(packages or {})}
    report = qvl_preflight.check(str(folder), facts=machine(packages=installed), **{"trust_remote_code": True, **call})
    return [
        (finding.code, finding.raises.type, finding.raises.text)
        for finding in report.findings
        if finding.code in CODES and finding.raises
    ]


@pytest.mark.parametrize(
    ("imports", "release", "expected"),
    [
        ("import einops", "4.28.1", [("QVL910", "ImportError", FOUND + "einops")]),
        ("import einops\nimport timm", "4.37.2", [("QVL910", "ImportError", FOUND)]),  # in no order
        ("import timm\nimport einops", "5.23.0", [("QVL910", "ImportError", FOUND + "einops, timm")]),
        ("def f():\n    import cv2", "5.23.0", [("QVL910", "ImportError", FOUND + "cv2")]),
        ("try:\n    import einops\nexcept ImportError:\n    einops = None", "5.23.0", []),
        ("import os, json\nimport torch.nn", "4.37.2", []),
        ("from transformers import BeamSearchScorer", "4.56.2", []),
        ("from transformers import BeamSearchScorer", "4.57.1", [("QVL911", "ImportError", "cannot import name 'BeamSearchScorer' from 'transformers'")]),
        ("from transformers.deepspeed import is_deepspeed_zero3_enabled", "4.57.1", [("QVL911", "ModuleNotFoundError", "No module named 'transformers.deepspeed'")]),
        ("from transformers.cache_utils import DynamicCache", "4.32.0", [("QVL911", "ModuleNotFoundError", "No module named 'transformers.cache_utils'")]),
        ("from transformers.modeling_utils import PreTrainedModel", "5.23.0", []),
        ("try:\n    from transformers import BeamSearchScorer\nexcept ImportError:\n    pass", "5.23.0", []),
        ("def f():\n    from transformers import BeamSearchScorer", "5.23.0", []),
        ("from transformers import BeamSearchScorer", "9.0.0", []),
    ],
)  # fmt: skip
def test_what_the_code_lacks(tmp_path: Path, imports: str, release: str, expected: list[tuple[str, str, str]]) -> None:
    """As run on those releases with such checkpoints."""
    write_own_code(str(tmp_path), imports)
    assert raised(tmp_path, release) == expected


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("4.51.3", []),
        ("4.57.1", [("QVL911", "ImportError", "cannot import name 'BeamSearchScorer' from 'transformers'")]),
        ("5.23.0", [("QVL911", "ImportError", "cannot import name 'DisjunctiveConstraint' from 'transformers'")]),
    ],
)
def test_a_package_that_transformers_has_left_behind(tmp_path: Path, release: str, expected: list[tuple[str, str, str]]) -> None:
    """Qwen-VL's code names transformers_stream_generator in a function; it is imported to see whether it is there."""
    write_own_code(str(tmp_path), TSG)
    assert raised(tmp_path, release, {"transformers-stream-generator": "0.0.5"}) == expected
    assert raised(tmp_path, release, {"transformers-stream-generator": "0.0.6"}) == []


def test_files_beside_it(tmp_path: Path) -> None:
    """In a folder nobody looks into them: Python meets the missing package itself."""
    write_own_code(str(tmp_path), "from .helper import x", helper="import einops\n")
    assert raised(tmp_path) == [("QVL910", "ModuleNotFoundError", "No module named 'einops'")]
    write_own_code(str(tmp_path), "from .helper import x", helper="def f():\n    import einops\n")
    assert raised(tmp_path) == []


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("4.38.2", [("QVL912", "ModuleNotFoundError", "No module named 'transformers_modules.Tiny-2'")]),
        ("4.39.3", []),
        ("5.23.0", []),
    ],
)
def test_a_dot_in_the_folders_name(tmp_path: Path, release: str, expected: list[tuple[str, str, str]]) -> None:
    """Its name becomes a module's until 4.38."""
    write_own_code(str(tmp_path / "Tiny-2.5"))
    assert raised(tmp_path / "Tiny-2.5", release) == expected


def test_silence_where_the_code_is_not_run_or_not_there(tmp_path: Path) -> None:
    """Not allowed; a class of transformers' own or of the person's; files that are not in the folder; a package that nobody knows."""
    write_own_code(str(tmp_path), "import einops")
    assert raised(tmp_path, trust_remote_code=None) == []
    assert raised(tmp_path, loader="LlamaForCausalLM") == []
    assert raised(tmp_path, loader="TheirOwnModel") == []
    assert raised(tmp_path, packages={"einops": "0.8.0"}) == []
    (tmp_path / "modeling_tiny.py").unlink()
    assert raised(tmp_path) == []


def test_a_package_that_nobody_knows_is_an_open_question(tmp_path: Path) -> None:
    """A module may come with a distribution of any name."""
    write_own_code(str(tmp_path), "import strange_thing")
    report = qvl_preflight.check(str(tmp_path), facts=machine(stack="legacy"), device_map={"": 0}, trust_remote_code=True)
    assert report.verdict == "incomplete"
    assert any("strange_thing" in item.reason for item in report.skipped)


def test_the_fix_names_what_pip_knows(tmp_path: Path) -> None:
    """cv2 is no distribution."""
    write_own_code(str(tmp_path), "import cv2\nfrom PIL import Image")
    report = qvl_preflight.check(str(tmp_path), facts=machine(stack="legacy"), device_map={"": 0}, trust_remote_code=True)
    fix = report.findings[0].fix
    assert fix is not None
    assert fix.commands == ("pip install opencv-python-headless pillow",)


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("4.37.2", [("QVL914", "ModuleNotFoundError", "No module named 'transformers_modules.tiny.deep'")]),
        ("4.57.1", [("QVL914", "FileNotFoundError", "[Errno 2] No such file or directory: '")]),
        ("5.14.0", []),  # not read: between one that does and one that does not
        ("5.23.0", []),
    ],
)
def test_a_file_two_steps_away(tmp_path: Path, release: str, expected: list[tuple[str, str, str]]) -> None:
    """Copied only where the first file imports it as well (run)."""
    folder = tmp_path / "tiny"
    write_own_code(str(folder), "from .helper import *", helper="from .deep import *\n", deep="")
    assert raised(folder, release) == expected
    write_own_code(str(folder), "from .helper import *\nfrom .deep import *", helper="from .deep import *\n", deep="")
    assert raised(folder, release) == []


def test_a_file_two_steps_away_in_a_try(tmp_path: Path) -> None:
    """Since 4.45 it is read before anything is run, and so missed even there."""
    helper = "try:\n    from .deep import *\nexcept ImportError:\n    pass\n"
    write_own_code(str(tmp_path), "from .helper import *", helper=helper, deep="")
    assert raised(tmp_path, "4.37.2") == []
    assert [code for code, _, _ in raised(tmp_path, "4.45.2")] == ["QVL914"]


def test_a_file_that_the_tokenizer_brings_along(tmp_path: Path) -> None:
    """Whoever has loaded the tokenizer has a copy of it: then it depends."""
    config = {**CONFIG, "auto_map": {**CONFIG["auto_map"], "AutoTokenizer": ["tokenization_tiny.Tiny", None]}}
    write_own_code(
        str(tmp_path),
        "from .helper import *",
        config,
        helper="from .deep import *\n",
        deep="",
        tokenization_tiny="from .deep import *",
    )
    report = qvl_preflight.check(str(tmp_path), facts=machine(stack="legacy"), trust_remote_code=True)
    [finding] = [found for found in report.findings if found.code == "QVL914"]
    assert finding.severity is Severity.WARNING
