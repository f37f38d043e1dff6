"""GPUs by size and by name."""

from __future__ import annotations

import pytest

from qvl_preflight.exceptions import InputError
from qvl_preflight.fitting.cards import CARDS, cards_of
from qvl_preflight.testing import HARDWARE

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("24GiB", "24GiB", 1), ("2x24GiB", "24GiB", 2), ("4 x 80GB", "80GB", 4), ("a100-80gb", "A100 80GB", 1), ("a100-80gb:4", "A100 80GB", 4),
        ("rtx4090", "GeForce RTX 4090", 1), ("NVIDIA GeForce RTX 4090", "GeForce RTX 4090", 1), ("4090", "GeForce RTX 4090", 1), ("2xT4", "Tesla T4", 2),
        ("A100-SXM4-80GB", "A100 80GB", 1), ("a100", "A100 40GB", 1), ("H100 80GB HBM3", "H100 80GB", 1), ("8×h200", "H200", 8),
    ],
)  # fmt: skip
def test_names_and_sizes(text: str, name: str, count: int) -> None:
    """A name that two cards bear is the smaller one."""
    found = cards_of([text])
    assert (len(found), {card.name for card in found}) == (count, {name})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("24", "did you mean 24GiB"), ("0GiB", "no size that memory can have"), ("0", "no size that memory can have"), ("-3GiB", "expected a size"), ("1e9GiB", "no such card"),
        ("99999999GiB", "expected a size"), ("", "no such card"), ("rtx4009", "did you mean rtx4090?"), ("mi300", "no such card"), ("0x24GiB", "expected 1 to"),
        ("24TiB", "expected a size"), ("9999x24GiB", "expected 1 to"), ("x", "no such card"),
    ],
)  # fmt: skip
def test_what_is_no_gpu(text: str, said: str) -> None:
    """One line, which says what is meant."""
    with pytest.raises(InputError, match=said.replace("?", r"\?")) as seen:
        cards_of([text])
    assert "\n" not in str(seen.value)


def test_a_card_is_not_larger_than_a_real_one_of_its_name() -> None:
    """What recorded machines have free when they are empty is no less, by 3 % at most."""
    real = {"t4": HARDWARE["t4"], "h100": HARDWARE["h100"]}
    for name, facts in real.items():
        assert CARDS[name][1] * 2**20 * 0.98 == pytest.approx(facts["gpus"][0]["free_bytes"], rel=0.03)
