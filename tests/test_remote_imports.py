"""What the code of a checkpoint imports: as each release of transformers looks for it, and as Python runs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qvl_preflight.remote_imports import (
    READINGS,
    CodeFile,
    Exports,
    Import,
    code_file,
    entries,
    exports,
    relative_imports,
    with_relatives,
)
from qvl_preflight.unknown import Unknown

EVERY = set(READINGS)
OLD = {"bare-except", "try", "try-flash", "try-flash-anywhere"}  # those that search the text


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        pytest.param("import einops", EVERY, id="at the top"),
        pytest.param("from einops.layers import Rearrange", EVERY, id="a module of it"),
        pytest.param("def f():\n    from einops import rearrange", EVERY, id="in a function"),
        pytest.param("try:\n    import einops\nexcept ImportError:\n    pass", {"bare-except"}, id="in a try"),
        pytest.param("try:\n    import einops\nexcept:\n    pass", set(), id="in a try without a class"),
        pytest.param('"""\nimport einops\n"""', OLD, id="in a docstring"),
        pytest.param("import einops as e", {"flash-calls", "calls"}, id="under another name, which the text search does not see"),
        pytest.param("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import einops", EVERY, id="for types alone"),
        pytest.param("if is_flash_attn_2_available():\n    from einops import f", OLD, id="if flash-attn is there"),
        pytest.param("if is_flash_attn_greater_or_equal_2_10():\n    from einops import f", OLD | {"calls"}, id="if flash-attn is new"),
        pytest.param("from transformers.utils import is_einops_available\nif is_einops_available():\n    import einops", EVERY - {"calls"}, id="if it is there"),
        pytest.param("if is_einops_available():\n    import einops", EVERY, id="asked by a function of their own"),
        pytest.param("from .einops import x", set(), id="a file beside it"),
    ],
)  # fmt: skip
def test_packages_that_are_looked_for(text: str, readings: set[str]) -> None:
    """Which of the ways of reading see it (run: 4.28.1, 4.32.0, 4.45.2, 4.51.3, 4.57.1, 5.23.0)."""
    file = CodeFile("modeling", text)
    found = {reading: file.looked_for(reading) for reading in READINGS}
    assert {reading for reading, names in found.items() if not isinstance(names, Unknown) and "einops" in names} == readings


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (
            "if is_flash_attn_2_available():\n    from flash_attn import f\n    from flash_attn.bert_padding import g\n",
            {"bare-except", "try"},
        ),
        ("if is_flash_attn_available():\n    import flash_attn\n", OLD),
        ("from flash_attn import f\n", EVERY),
    ],
)
def test_flash_attn_behind_its_question(text: str, seen: set[str]) -> None:
    """Since 4.45 it is not looked for there."""
    found = {reading: CodeFile("m", text).looked_for(reading) for reading in READINGS}
    assert {reading for reading, names in found.items() if not isinstance(names, Unknown) and "flash_attn" in names} == seen


def test_what_a_file_runs_whatever_else_holds() -> None:
    """Not what stands in functions, in a try or under an if."""
    text = "import torch.nn as nn\nfrom transformers import A, B as C\nif x:\n    import y\ntry:\n    import z\nexcept E:\n    pass\nfrom .a import b\n"
    assert CodeFile("m", text).runs == (Import("torch.nn", (), 1), Import("transformers", ("A", "B"), 2))


@pytest.mark.parametrize("text", ["def broken(:", "x = " + "(" * 500 + ")" * 500, "\x00"])
def test_code_that_does_not_parse_is_unknown(text: str) -> None:
    """The releases that search the text still find what it names."""
    assert isinstance(CodeFile("m", text).runs, Unknown)
    assert isinstance(CodeFile("m", text).looked_for("calls"), Unknown)
    assert CodeFile("m", f"import einops\n{text}").looked_for("try") == ("einops",)


def test_files_that_are_not_there_or_too_large(tmp_path: Path) -> None:
    """Not there is None; what cannot be read is unknown."""
    assert code_file(str(tmp_path), "nothing") is None
    (tmp_path / "large.py").write_text("#" * (2**21 + 1))
    assert isinstance(code_file(str(tmp_path), "large"), Unknown)
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00")
    assert isinstance(code_file(str(tmp_path), "binary"), Unknown)


def test_files_that_import_one_another(tmp_path: Path) -> None:
    """Each is read once, also where they go in a circle."""
    (tmp_path / "a.py").write_text("from .b import x\nfrom .missing import y\n")
    (tmp_path / "b.py").write_text("from .a import z\n")
    found = with_relatives(str(tmp_path), "a")
    assert list(found) == ["a", "b", "missing"]
    assert found["missing"] is None


@pytest.mark.parametrize(
    ("auto_map", "loader", "expected"),
    [
        ({"AutoConfig": "c.C", "AutoModelForCausalLM": "m.M"}, None, ("c", "m")),
        ({"AutoConfig": "c.C", "AutoModel": "n.N", "AutoModelForCausalLM": "m.M"}, "AutoModel", ("c", "n")),
        ({"AutoConfig": "c.C", "AutoModelForSeq2SeqLM": "m.M"}, None, ("c",)),
        ({"AutoModel": "m.M"}, "AutoModelForCausalLM", ()),
        ("nonsense", None, ()),
    ],
)
def test_modules_that_a_load_runs(auto_map: object, loader: str | None, expected: tuple[str, ...]) -> None:
    """The configuration's, then the model's."""
    assert entries({"auto_map": auto_map}, loader) == expected


@pytest.mark.parametrize("reference", ["org/repo--m.M", "M", ["m.M", None], "a.b.C"])
def test_modules_that_lie_elsewhere_are_unknown(reference: object) -> None:
    """In another repository, or in a form that no release knows."""
    assert isinstance(entries({"auto_map": {"AutoConfig": reference}}, None), Unknown)


@pytest.mark.parametrize(
    ("module", "name", "release", "there"),
    [
        ("transformers", "BeamSearchScorer", (4, 56, 2), True),
        ("transformers", "BeamSearchScorer", (4, 57, 1), False),
        ("transformers", "PreTrainedModel", (5, 23, 0), None),  # always there: not in the table
        ("transformers.modeling_utils", "find_pruneable_heads_and_indices", (4, 37, 2), True),
        ("transformers.modeling_utils", "find_pruneable_heads_and_indices", (5, 23, 0), False),
        ("transformers.models.llama.modeling_llama", "LlamaFlashAttention2", (4, 47, 1), True),
        ("transformers.models.llama.modeling_llama", "LlamaFlashAttention2", (4, 48, 3), False),
        ("transformers", "BeamSearchScorer", (9, 0, 0), None),
        ("transformers.nosuch", "X", (4, 37, 2), None),
    ],
)
def test_names_that_came_or_went(module: str, name: str, release: tuple[int, ...], there: bool | None) -> None:
    """None where the table does not say."""
    assert exports().has_name(module, name, release) is there


def test_between_two_releases_that_differ_nothing_is_known() -> None:
    """A release that was not read lies where its neighbours agree, or nowhere."""
    table = Exports("4.28 4.30 5.0\nm 4.28- gone:4.28-4.30 came:5.0-\nlost 4.28-4.30")
    assert table.has_name("m", "gone", (4, 29, 0)) is True
    assert table.has_name("m", "gone", (4, 40, 0)) is None
    assert table.has_name("m", "came", (4, 29, 0)) is False
    assert table.has_module("lost", (5, 0, 0)) is False
    assert table.has_module("lost", (4, 20, 0)) is None
    assert (table.span("lost"), table.span("m", "came")) == ("4.28 to 4.30", "5.0 and later")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody writes to it."""
    os.mkfifo(tmp_path / "modeling_x.py")
    assert code_file(str(tmp_path), "modeling_x") == Unknown("modeling_x.py is no file")


def test_relative_imports_are_read_as_transformers_reads_them() -> None:
    """Both of its patterns, over comments and functions as well; each module once, in order."""
    text = "from .b import x\nimport .a\ndef f():\n    from .c import y\n    from .b import z\nfrom . import d\nimport os\n"
    assert relative_imports(text) == ("a", "b", "c")


def test_a_module_below_one_that_was_a_file_is_not_there() -> None:
    """transformers.integrations became a package in 4.33; before that nothing lies below it."""
    assert exports().has_module("transformers.integrations.deepspeed", (4, 32, 0)) is False
    assert exports().has_module("transformers.integrations.deepspeed", (4, 33, 3)) is True
