"""The picture of ``fit``: whole XML that stands alone, whose words and bars say what the answer says."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight.cli import main

MODEL = "Qwen/Qwen2-7B-Instruct"
SVG = "{http://www.w3.org/2000/svg}"


def drawn(root: Path, **call: object) -> tuple[qvl_preflight.Fit, ET.Element]:
    found = qvl_preflight.fit(str(root / MODEL), **call)  # type: ignore[arg-type]
    return found, ET.fromstring(found.svg())


def words(picture: ET.Element) -> str:
    return "\n".join("".join(each.itertext()) for each in picture.iter(f"{SVG}text"))


@pytest.mark.parametrize(
    "call",
    [
        {"gpu": "24GiB"},
        {"gpu": "1GiB"},
        {"gpu": "2x2GiB", "device_map": {"model.embed_tokens": 0, "model.layers": 1, "model.norm": "cpu", "lm_head": "disk"}},
        {"gpu": "8xrtx4090", "purpose": "full", "zero_stage": 3},
        {"gpu": ("t4", "rtx4090"), "purpose": "qlora"},
    ],
    ids=str,
)
def test_it_stands_alone_and_says_the_verdict(checkpoints: Path, call: dict[str, object]) -> None:
    """Nothing is loaded from elsewhere; what is drawn stays inside, and the description is the whole answer."""
    found, picture = drawn(checkpoints, **call)
    text = found.svg()
    assert not re.search(r"href|url\(|@import|<script|<image", text)
    assert picture.findtext(f"{SVG}desc") == found.text()
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    for each in picture.iter(f"{SVG}rect"):
        assert float(each.get("x", 0)) + float(each.attrib["width"]) <= width
        assert float(each.get("y", 0)) + float(each.attrib["height"]) <= height
    assert all(float(each.attrib["y"]) < height for each in picture.iter(f"{SVG}text"))
    for placed in found.question.holdings:
        assert placed.room.device in words(picture) or len(found.question.holdings) > 2
    assert found._repr_html_() == text


def test_the_parts_of_a_bar_are_what_is_needed(checkpoints: Path) -> None:
    """On one scale with what is free."""
    found, picture = drawn(checkpoints, gpu="24GiB", purpose="full")
    (placed,) = found.question.holdings
    bars = [each for each in picture.iter(f"{SVG}rect") if each.find(f"{SVG}title") is not None]
    (free,) = [each for each in picture.iter(f"{SVG}rect") if each.get("class") == "free"]
    assert placed.estimate is not None
    assert isinstance(placed.estimate.total_bytes, int)
    share = sum(float(bar.attrib["width"]) for bar in bars) / float(free.attrib["width"])
    assert share == pytest.approx(placed.estimate.total_bytes / placed.room.free, rel=0.01)
    assert {"weights", "gradients", "optimizer", "CUDA context"} <= set(words(picture).splitlines())


def test_it_is_for_light_and_dark_pages(checkpoints: Path) -> None:
    assert "prefers-color-scheme:dark" in drawn(checkpoints, gpu="24GiB")[0].svg()


def test_names_are_no_markup(checkpoints: Path, tmp_path: Path) -> None:
    """A folder may be called anything."""
    folder = tmp_path / "a<b>&\x07'c"
    folder.symlink_to(checkpoints / MODEL)
    picture = ET.fromstring(qvl_preflight.fit(folder, gpu="24GiB").svg())
    assert "a<b>&?'c" in words(picture)


def test_the_command_writes_it(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(checkpoints / MODEL)
    assert main(["fit", model, "--gpu", "24GiB", "--svg", str(tmp_path / "fit.svg")]) == 0
    assert ET.parse(tmp_path / "fit.svg").getroot().tag == f"{SVG}svg"
    capsys.readouterr()
    assert main(["fit", model, "--gpu", "24GiB", "--svg", str(tmp_path / "none" / "fit.svg")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "cannot be written" in err
