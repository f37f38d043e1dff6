"""Unknown is a value with a reason: it is never true, never false, and stops whoever needs more."""

from __future__ import annotations

from typing import Any

import pytest

from qvl_preflight.unknown import Undecided, Unknown, attempt, need

NOBODY = Unknown("nobody could tell")


@pytest.mark.parametrize("ask", [bool, lambda value: not value, lambda value: value or 1, lambda value: 1 if value else 2])
def test_unknown_is_neither_true_nor_false(ask: Any) -> None:
    """Asking for its truth is a mistake of ours, and says what is unknown."""
    with pytest.raises(TypeError, match="nobody could tell"):
        ask(NOBODY)


@pytest.mark.parametrize("value", [0, "", False, None, [], "12.1"])
def test_need_hands_a_known_value_through(value: Any) -> None:
    """Falsy values are known values."""
    assert need(value) is value


def test_need_stops_at_the_unknown() -> None:
    """The reason travels with the exception, as attribute and as text."""
    with pytest.raises(Undecided, match=r"^nobody could tell$") as caught:
        need(NOBODY)
    assert caught.value.reason == "nobody could tell"


def test_attempt_turns_undecided_into_unknown() -> None:
    """What needed something unknown is unknown for the same reason."""
    assert attempt(lambda: need(NOBODY) + 1) == NOBODY


def test_attempt_returns_what_was_computed() -> None:
    """A computation that needs nothing unknown is not touched."""
    assert attempt(lambda: 0) == 0


def test_attempt_does_not_hide_mistakes() -> None:
    """Only Undecided is turned; any other exception is a bug and goes up."""
    with pytest.raises(ZeroDivisionError):
        attempt(lambda: 1 // 0)
