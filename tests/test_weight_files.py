"""Which weights a call loads, and what their files turn out to be."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from qvl_preflight.checkpoint import BIN_WEIGHTS, NOT_FETCHED, Weights, read_checkpoint
from qvl_preflight.exceptions import InputError
from qvl_preflight.safetensors import Tensor
from qvl_preflight.sources import Asked, Place
from qvl_preflight.stand_ins import stand_in
from qvl_preflight.testing import write_checkpoint
from qvl_preflight.testing.caches import write_cache
from qvl_preflight.testing.files import Tensors, write_torch_file
from qvl_preflight.torch_files import read_torch_file
from qvl_preflight.unknown import Unknown
from qvl_preflight.weight_files import Kind, choose, weights_of_another_call, with_variant

ONE: Tensors = {"a.weight": ("F16", (4, 4))}
TWO: list[Tensors] = [ONE, {"b.weight": ("F16", (8, 4))}]
FILES = ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"]


@pytest.mark.parametrize(
    ("there", "use_safetensors", "variant", "chosen"),
    [
        pytest.param(FILES, None, None, "model.safetensors", id="one safetensors file first"),
        pytest.param(FILES[1:], None, None, "model.safetensors.index.json", id="then its index"),
        pytest.param(FILES[2:], None, None, "pytorch_model.bin", id="then .bin"),
        pytest.param(FILES[3:], None, None, "pytorch_model.bin.index.json", id="then its index, too"),
        pytest.param(FILES, False, None, "pytorch_model.bin", id="no safetensors wanted"),
        pytest.param(FILES[:2], False, None, None, id="and there are no others"),
        pytest.param(FILES, None, "fp16", None, id="a variant that is not there"),
        pytest.param(
            [*FILES, "model.safetensors.index.fp16.json"], None, "fp16", "model.safetensors.index.fp16.json", id="a variant"
        ),
        pytest.param([], None, None, None, id="nothing"),
    ],
)
def test_the_choice(there: list[str], use_safetensors: bool | None, variant: str | None, chosen: str | None) -> None:
    """The order of transformers."""
    found = choose(there.__contains__, use_safetensors, variant)
    assert (found.name if found else None) == chosen


def test_a_variant_stands_before_the_ending() -> None:
    """As _add_variant writes it."""
    assert with_variant("model.safetensors.index.json", "fp16") == "model.safetensors.index.fp16.json"
    assert with_variant("model.safetensors", None) == "model.safetensors"


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["model.safetensors"], Kind("safetensors", None)),
        (["pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"], Kind("bin", None)),
        (["model.fp16.safetensors"], Kind("safetensors", "fp16")),
        (["model.fp16-00001-of-00002.safetensors"], None),
        (["model.safetensors.index.fp16.json"], Kind("safetensors", "fp16")),
        (["training_args.bin", "adapter_model.safetensors", "model.bin", "config.json"], None),
    ],
)
def test_the_kind_of_weights_in_a_folder(names: list[str], kind: Kind | None) -> None:
    """Files of transformers' own names alone."""
    assert weights_of_another_call(names) == kind


def test_the_tensors_of_bin_files(tmp_path: Path) -> None:
    """Out of the text of their pickle, which is not run; the bytes are those of the storages that the archive lists."""
    write_checkpoint(str(tmp_path), {}, [])
    write_torch_file(str(tmp_path / "pytorch_model.bin"), {**TWO[0], **TWO[1]})
    checkpoint = read_checkpoint(str(tmp_path), {})
    assert checkpoint.weights == Weights((Tensor("a.weight", "F16", (4, 4), 32), Tensor("b.weight", "F16", (8, 4), 64)), (), {})
    assert checkpoint.total_bytes == 96


def test_bin_files_that_hold_something_else(tmp_path: Path) -> None:
    """A whole model, say: how large it is, the archive tells all the same."""
    import zipfile

    write_checkpoint(str(tmp_path), {}, [])
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")
        archive.writestr("archive/data/0", bytes(96))
    checkpoint = read_checkpoint(str(tmp_path), {})
    assert checkpoint.weights == BIN_WEIGHTS
    assert checkpoint.total_bytes == 96


def test_a_bin_file_that_torch_wrote(tmp_path: Path) -> None:
    """A folder of storages named after the file, and a version beside them."""
    import zipfile

    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        for name, size in (
            ("data.pkl", 100),
            ("byteorder", 6),
            ("data/0", 128),
            ("data/11", 256),
            ("version", 2),
            (".data/serialization_id", 40),
        ):
            archive.writestr(f"pytorch_model/{name}", bytes(size))
    assert read_torch_file(str(path)).total_bytes == 384


def test_bin_files_of_other_shapes(tmp_path: Path) -> None:
    """A plain pickle counts by its size; one cut off has no directory; a directory beyond reason is not read."""
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"\x80\x02" + bytes(98))
    assert read_torch_file(str(path)).total_bytes == 100
    write_torch_file(str(path), ONE)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert not read_torch_file(str(path)).complete
    end = whole.rindex(b"PK\x05\x06")
    path.write_bytes(whole[: end + 12] + b"\xff\xff\xff\x7f" + whole[end + 16 :])
    assert read_torch_file(str(path)).total_bytes == len(whole)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4096\n", "a git-lfs pointer"),
        (b"", "nothing: it is empty"),
        (b"\n<!DOCTYPE html><html>", "a web page or a server's answer"),
        (b'{"error":"Invalid username or password."}', "a web page or a server's answer"),
        (b"PK\x03\x04", None),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}", None),
    ],
)
def test_what_lies_in_place_of_weights(tmp_path: Path, head: bytes, what: str | None) -> None:
    """Told by the first bytes."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(head)
    found = stand_in(str(path))
    assert (found.what if found else None) == what


def test_a_pointer_says_how_large_the_file_is(tmp_path: Path) -> None:
    """So the size of the model is known before it is fetched."""
    write_checkpoint(str(tmp_path), {}, [])
    (tmp_path / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4096\n", encoding="utf-8"
    )
    checkpoint = read_checkpoint(str(tmp_path), {})
    assert isinstance(checkpoint.weights, Unknown)
    assert checkpoint.total_bytes == 4096


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..\\x", "C:/x", ""])
def test_an_index_that_leaves_its_folder_is_not_followed(tmp_path: Path, name: str) -> None:
    """Whatever lies there: it is neither opened nor looked for."""
    write_checkpoint(str(tmp_path), {}, [])
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}), encoding="utf-8")
    assert read_checkpoint(str(tmp_path), {}).weights == Unknown("the index names files outside its folder, which are not opened")


def test_a_folder_below_the_index_is_inside(tmp_path: Path) -> None:
    """Shards may lie in a folder of their own."""
    write_checkpoint(str(tmp_path), {}, TWO)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text(encoding="utf-8"))
    (tmp_path / "shards").mkdir()
    for name in set(index["weight_map"].values()):
        os.rename(tmp_path / name, tmp_path / "shards" / name)
    index["weight_map"] = {key: f"shards/{name}" for key, name in index["weight_map"].items()}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert read_checkpoint(str(tmp_path), {}).total_bytes == 32 + 64


def asked(tmp_path: Path, **kwargs: Any) -> Any:
    return read_checkpoint(str(tmp_path), {}, Asked.of(kwargs))


def test_the_call_says_which_files(tmp_path: Path) -> None:
    """subfolder, variant and use_safetensors choose; a GGUF file is not read."""
    write_checkpoint(str(tmp_path), {}, [ONE])
    write_checkpoint(str(tmp_path / "sub"), {"below": True}, TWO)
    write_torch_file(str(tmp_path / "pytorch_model.fp16.bin"), {"c": ("F16", (4,))})
    assert asked(tmp_path).total_bytes == 32
    assert asked(tmp_path, subfolder="sub").total_bytes == 96
    assert asked(tmp_path, subfolder="sub").config == {"below": True}
    assert asked(tmp_path, variant="fp16").total_bytes == 8
    assert isinstance(asked(tmp_path, gguf_file="q4.gguf").weights, Unknown)
    assert isinstance(asked(tmp_path, from_tf=True).weights, Unknown)


def test_a_corrected_call_can_mean_other_files(tmp_path: Path) -> None:
    """Dropping a variant leads back to the plain weights."""
    write_checkpoint(str(tmp_path), {}, [ONE])
    wrong = asked(tmp_path, variant="fp16")
    assert isinstance(wrong.weights, Unknown)
    assert wrong.as_asked({}).total_bytes == 32
    assert wrong.as_asked({"variant": "fp16", "device_map": "auto"}) is wrong


def test_shards_that_are_not_fetched_yet(tmp_path: Path) -> None:
    """In a cache they are no broken checkpoint; the index knows the size."""
    write_cache(str(tmp_path), "o/m", {}, TWO, without=["model-00002-of-00002.safetensors"])
    checkpoint = read_checkpoint("o/m", {}, place=Place({"HF_HUB_CACHE": str(tmp_path)}))
    assert checkpoint.weights == NOT_FETCHED
    assert checkpoint.total_bytes == 96


def test_offline_a_model_that_is_not_cached_is_no_input_error(tmp_path: Path) -> None:
    """The call itself fails then, and that is what is asked."""
    place = Place({"HF_HUB_CACHE": str(tmp_path)})
    with pytest.raises(InputError, match=r"hf download o/m config\.json"):
        read_checkpoint("o/m", {}, place=place)
    assert isinstance(read_checkpoint("o/m", {}, place=place, offline=True).weights, Unknown)


def test_other_revisions_are_named(tmp_path: Path) -> None:
    """Whoever asks for one that is not there is told which are."""
    write_cache(str(tmp_path), "o/m", {}, [])
    with pytest.raises(InputError, match="has no revision v9, only 0123456789abcdef"):
        read_checkpoint("o/m", {}, Asked(revision="v9"), Place({"HF_HUB_CACHE": str(tmp_path)}))


def test_a_model_that_modelscope_alone_has(tmp_path: Path) -> None:
    """It is said where, and not taken for the other hub's."""
    folder = tmp_path / "models" / "o" / "m"
    write_checkpoint(str(folder), {"from": "modelscope"}, [ONE])
    env = {"MODELSCOPE_CACHE": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "none")}
    with pytest.raises(InputError, match="ModelScope's cache has it"):
        read_checkpoint("o/m", env)
    checkpoint = read_checkpoint("o/m", env, place=Place(env, hub="modelscope"))
    assert (checkpoint.config, checkpoint.path) == ({"from": "modelscope"}, str(folder))


def test_a_link_whose_blob_is_gone_is_no_file(tmp_path: Path) -> None:
    """As os.path.exists has it, and huggingface_hub with it."""
    snapshot = Path(write_cache(str(tmp_path), "o/m", {}, [ONE]))
    (snapshot / "model.safetensors").resolve().unlink()
    checkpoint = read_checkpoint("o/m", {}, place=Place({"HF_HUB_CACHE": str(tmp_path)}))
    assert checkpoint.weights == NOT_FETCHED


def test_an_adapter_leads_to_its_base(tmp_path: Path) -> None:
    """A folder without config.json whose adapter_config.json names a model."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    write_checkpoint(str(base), {"base": True}, [ONE])
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}), encoding="utf-8")
    checkpoint = read_checkpoint(str(adapter), {})
    assert (checkpoint.config, checkpoint.adapter, checkpoint.total_bytes) == ({"base": True}, str(adapter), 32)


@pytest.mark.parametrize("text", ['{"base_model_name_or_path": null}', "[]", '{"base_model_name_or_path": "SELF"}'])
def test_an_adapter_that_leads_nowhere_is_refused(tmp_path: Path, text: str) -> None:
    """No base, or itself: the folder has no config.json, and that is said."""
    (tmp_path / "adapter_config.json").write_text(text.replace("SELF", str(tmp_path)), encoding="utf-8")
    with pytest.raises(InputError, match=r"expected the config\.json"):
        read_checkpoint(str(tmp_path), {})


@pytest.mark.parametrize("size", [5, 8, 9, 60])
def test_a_file_that_ends_in_its_header_is_cut_off(tmp_path: Path, size: int) -> None:
    """A finding, as any file that is too short; how much is missing nobody can tell."""
    write_checkpoint(str(tmp_path), {}, [ONE])
    os.truncate(tmp_path / "model.safetensors", size)
    files = read_checkpoint(str(tmp_path), {}).files
    assert not isinstance(files, Unknown)
    assert (files.short, files.total_bytes) == ({"model.safetensors": 0}, None)
