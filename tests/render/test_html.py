"""The report in a notebook: stands alone, shows names as text, says what the plain report says."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight.render.html_style import STYLE
from qvl_preflight.testing import machine

MODEL = "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"
_VOID = ("br",)


class Page(HTMLParser):
    """Holds the tags that are open, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += f" {data}"


def page(html: str) -> Page:
    found = Page()
    found.feed(html)
    found.close()
    assert found.open == []
    return found


@pytest.fixture
def shown(checkpoints: Path) -> list[tuple[str, str]]:
    """HTML and text of each kind of report."""
    model, facts = str(checkpoints / MODEL), machine("a100")
    things = (
        qvl_preflight.check(model, facts=facts),
        qvl_preflight.check(model, facts=facts, purpose="qlora", device_map="auto", peft={"r": 4, "target_modules": ["q_proj"]}),
        qvl_preflight.check(model, facts={}),
        qvl_preflight.fix_kwargs(model, facts=facts),
        qvl_preflight.fix_kwargs(model, facts=facts, device_map={"": 0}),
        qvl_preflight.fix_kwargs(model, facts=facts, device_map={"": 7}, dtype="flaot16"),
        qvl_preflight.doctor(facts=facts),
    )
    return [(thing._repr_html_(), thing.text()) for thing in things]


def test_every_block_stands_alone(shown: list[tuple[str, str]]) -> None:
    """Well-formed; no script, no address, nothing that is fetched, none of the page's own variables."""
    for html, _ in shown:
        found = page(html)
        assert not {"script", "link", "img", "iframe", "a", "object"} & {tag for tag, _ in found.tags}
        assert "http" not in re.sub(r"<code.*?</code>|<dd>.*?</dd>", "", html)
        assert not re.search(r"url\(|@import|--jp-|--vscode-", html)
        assert all(name in ("class", "open") for _, attributes in found.tags for name in attributes)


def test_it_says_what_the_plain_report_says(shown: list[tuple[str, str]]) -> None:
    """Every word of the text but for the way to read on."""
    for html, text in shown:
        words = set(page(html).text.split())
        plain = text.partition("\nMachine\n")[0]
        missing = {word for word in plain.split() if word not in words} - {"More", "qvl-preflight", "explain", "Why"}
        assert not {word for word in missing if word.isalpha()}, missing


def test_findings_fold_and_the_machine_begins_folded(shown: list[tuple[str, str]]) -> None:
    """By <details>, which takes no script."""
    html = shown[0][0]
    details = [attributes for tag, attributes in page(html).tags if tag == "details"]
    assert "open" in details[0]
    assert "open" not in details[-1]


def test_names_out_of_files_are_text(tmp_path: Path) -> None:
    """A folder may be called anything."""
    folder = tmp_path / "<b onclick=x>&amp;\x1b[2J"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    html = qvl_preflight.check(str(folder), facts={})._repr_html_()
    assert "<b onclick" not in html
    assert "\x1b" not in html
    assert "&lt;b onclick=x&gt;&amp;amp;" in html


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_is_readable_on_its_ground(theme: str) -> None:
    """At least 4.5 to 1 (WCAG AA), on the block, on code, and on edits."""
    found = next(each for each in re.findall(r"\{([^{}]*color-scheme:\w+)", STYLE) if each.endswith(theme))
    colours = dict(re.findall(r"--(\w+):(#\w{6})", found))
    pairs = [(name, "bg") for name in ("fg", "dim", "error", "warning", "note", "ok")] + [
        ("fg", name) for name in ("soft", "add", "del")
    ]
    for text, ground in pairs:
        light, dark = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
