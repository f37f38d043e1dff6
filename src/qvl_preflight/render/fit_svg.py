"""The answer of ``fit`` as a picture that stands alone: SVG, for light and dark pages, whose words are text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from qvl_preflight.counted import counted
from qvl_preflight.fitting.spread import Spread
from qvl_preflight.render.fit import WORDS, described, fit_text, grouped, needed, saved
from qvl_preflight.render.machine import bytes_text
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.fitting.answer import Fit
    from qvl_preflight.fitting.question import Placed

_WIDTH, _EDGE, _BAR, _ROW = 760, 20, 22, 58
_LONGEST = 96  # signs of a line
_OFFERS = 4
# Parts from left to right, with a colour for light and one for dark pages: told apart without red and green, and 3:1 against the page.
_PARTS = (
    ("weights", "#2563c9", "#6ea8ff"), ("keys and values", "#0e7c86", "#3cc3cf"), ("gradients", "#b3589a", "#e79bd0"),
    ("optimizer", "#8a5a00", "#e0a93b"), ("adapters", "#6d4fc4", "#b39dff"), ("activations", "#d1541b", "#ff9a62"), ("CUDA context", "#6b7280", "#9aa3b2"),
    ("beside the GPUs", "#7a2233", "#e58a9b"),
)  # fmt: skip
_CLASSES = {name: f"p{number}" for number, (name, _, _) in enumerate(_PARTS)}


def fit_svg(found: Fit) -> str:
    """All of it."""
    body = list(_body(found))
    height = max((line[0] for line in body), default=0) + _EDGE
    title, told = (
        escape(_cut(f"{found.model}: {WORDS[found.verdict]}")),
        escape("\n".join(map(_clean, fit_text(found).split("\n")))),
    )
    drawn = "\n".join(text for _, text in body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img" '
        f'aria-labelledby="t d">\n<title id="t">{title}</title>\n<desc id="d">{told}</desc>\n{_style()}\n'
        f'<rect class="page" width="{_WIDTH}" height="{height}" rx="8"/>\n{drawn}\n</svg>\n'
    )


def _style() -> str:
    light = " ".join(f".{_CLASSES[name]}{{fill:{colour}}}" for name, colour, _ in _PARTS)
    dark = " ".join(f".{_CLASSES[name]}{{fill:{colour}}}" for name, _, colour in _PARTS)
    words = "text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1b1f24} .head{font-weight:600;font-size:15px} .small{fill:#57606a;font-size:12px}"
    return (
        f"<style>{words} .page{{fill:#fff}} .free{{fill:#eaeef2}} .end{{stroke:#1b1f24;stroke-width:2}} .over{{font-weight:600;fill:#b42318}} {light}\n"
        "@media (prefers-color-scheme:dark){text{fill:#e6edf3} .small{fill:#9aa4af} .page{fill:#0d1117} .free{fill:#2b323b} .end{stroke:#e6edf3} "
        f".over{{fill:#ff8f85}} {dark}}}</style>"
    )


def _body(found: Fit) -> Iterator[tuple[int, str]]:
    """What is drawn, each with the place where it ends."""
    yield _text(30, found.model, "head")
    yield _text(50, described(found.question.call), "small")
    top = 76
    rows = [(row, _bar_of(row[0])) for row in grouped(found)]
    spread = found.question.spread
    away = spread.away if isinstance(spread, Spread) else {}
    widest = max(
        [row[0].room.free for row, _ in rows]
        + [sum(size for _, size in bar) for _, bar in rows]
        + [one.total_bytes for one in away.values()],
        default=1,
    )
    for row, bar in rows:
        yield from _gpu(top, row, bar, widest)
        top += _ROW
    verb = "spills to" if found.question.spills else "on"
    for place, one in away.items():
        where = "CPU" if place == "cpu" else place
        yield _text(
            top,
            f"{verb} the {where}: {bytes_text(one.total_bytes)}, {counted(len(one.modules), 'module')}",
            "over" if verb != "on" else "",
        )
        yield _rect(top + 8, 0, one.total_bytes, widest, _CLASSES["beside the GPUs"])
        top += _ROW
    if not rows:
        yield _text(top, "no GPU is known here", "small")
        top += 24
    used = {name for _, bar in rows for name, size in bar if size} | ({"beside the GPUs"} if away else set())
    yield from _legend(top, [name for name, _, _ in _PARTS if name in used])
    yield from _words(found, top + 30)


def _gpu(top: int, row: list[Placed], bar: list[tuple[str, int]], widest: int) -> Iterator[tuple[int, str]]:
    """A line of words, and under it what is free, with what is needed on it."""
    placed = row[0]
    room = placed.room
    name = room.name if len(row) == 1 else f"{room.device} to {row[-1].room.name}, each"
    state = "free" if room.measured else "if it is empty"
    least = "at least " if placed.estimate is not None and isinstance(placed.estimate.total_bytes, Unknown) else ""
    said = f"{name}: {least}{bytes_text(needed(placed))} of {bytes_text(room.free)} {state}: {WORDS[placed.verdict]}"
    yield _text(top, said, "over" if placed.verdict == "too large" else "")
    yield _rect(top + 8, 0, room.free, widest, "free")
    at = 0
    for part, size in bar:
        if size:
            yield _rect(top + 8, at, size, widest, _CLASSES[part], f"{part}: {bytes_text(size)}")
            at += size
    x = _EDGE + _scaled(room.free, widest)
    yield top + 34, f'<line class="end" x1="{x:.1f}" x2="{x:.1f}" y1="{top + 4}" y2="{top + 34}"/>'


def _bar_of(placed: Placed) -> list[tuple[str, int]]:
    """Parts that add up to what is needed. Those that come and go share what the worst moment leaves to them."""
    found = placed.estimate
    if found is None:
        return []
    parts = {
        "weights": found.weights_bytes,
        "keys and values": _known(found.kv_cache_bytes),
        "optimizer": _known(found.optimizer_bytes),
    }
    parts["adapters"] = _known(found.adapter_bytes) + found.prepared_bytes
    left = needed(placed) - found.context_bytes - sum(parts.values())
    parts["gradients"] = max(0, min(_known(found.gradient_bytes), left))
    parts["activations"] = max(0, left - parts["gradients"])
    parts["CUDA context"] = found.context_bytes
    return [(name, parts[name]) for name, _, _ in _PARTS if name in parts]


def _known(size: int | Unknown) -> int:
    return 0 if isinstance(size, Unknown) else size


def _legend(top: int, names: list[str]) -> Iterator[tuple[int, str]]:
    x = _EDGE
    for name in names:
        yield top + 12, f'<rect class="{_CLASSES[name]}" x="{x}" y="{top}" width="12" height="12" rx="2"/>'
        yield top + 12, f'<text class="small" x="{x + 17}" y="{top + 10}">{name}</text>'
        x += 32 + 7 * len(name)


def _words(found: Fit, top: int) -> Iterator[tuple[int, str]]:
    """The limits, and the first of what would help."""
    most = found.limits
    lines = []
    if most.sequence:
        batch = f"; largest batch: {most.batch:,}" if most.batch else ""
        lines.append(f"longest sequence that fits: {most.sequence:,} tokens{batch}")
    for offer in found.offers[:_OFFERS]:
        lines.append(f"would fit: {offer.text}: {bytes_text(offer.needs)}{saved(offer.saves)}")
    for line in lines:
        top += 20
        yield _text(top, line)


def _text(y: int, words: str, kind: str = "") -> tuple[int, str]:
    return y, f'<text{f" class={chr(34)}{kind}{chr(34)}" if kind else ""} x="{_EDGE}" y="{y}">{escape(_cut(words))}</text>'


def _rect(y: int, start: int, size: int, widest: int, kind: str, told: str = "") -> tuple[int, str]:
    x, width = _EDGE + _scaled(start, widest), max(_scaled(size, widest), 0.5)
    inside = f"><title>{escape(told)}</title></rect>" if told else "/>"
    return y + _BAR, f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}"{inside}'


def _scaled(size: int, widest: int) -> float:
    return size / max(widest, 1) * (_WIDTH - 2 * _EDGE)


def _cut(words: str) -> str:
    """A line that is not wider than the picture."""
    clean = _clean(words)
    return clean if len(clean) <= _LONGEST else f"{clean[: _LONGEST - 1]}…"


def _clean(words: str) -> str:
    """Without signs that XML has no place for."""
    return "".join(sign if sign.isprintable() else "?" for sign in words)
