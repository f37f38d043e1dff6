"""The border: dataclasses out of data from outside, or one line about the first thing that does not fit."""

# No postponed annotations: the dataclasses here are read where they stand.
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from qvl_preflight.borders import schema, validate
from qvl_preflight.exceptions import InputError


@dataclass(frozen=True)
class Wheel:
    """A part."""

    size: int
    label: str = "plain"


@dataclass(frozen=True)
class Cart:
    """A whole."""

    wheels: tuple[Wheel, ...] = ()
    spare: Wheel | None = None
    tags: Mapping[str, int] = field(default_factory=dict)


def refused(raw: Any) -> InputError:
    """The error with which a cart is refused; its text is one line."""
    with pytest.raises(InputError) as caught:
        validate(Cart, raw, "cart.json")
    assert "\n" not in str(caught.value)
    return caught.value


def test_nested_data_becomes_dataclasses() -> None:
    """Objects become instances, lists tuples, and defaults take the place of what is missing."""
    made = validate(Cart, {"wheels": [{"size": 20}, {"size": 21, "label": "left"}], "tags": {"year": 1990}}, "cart.json")
    assert made == Cart((Wheel(20), Wheel(21, "left")), None, {"year": 1990})
    assert isinstance(made, Cart)
    assert isinstance(made.wheels[0], Wheel)


@pytest.mark.parametrize(
    ("raw", "start"),
    [
        pytest.param({"wheels": [{"size": "large"}]}, 'wheels.0.size is "large": ', id="deep in a list"),
        pytest.param({"spare": {"size": {}}}, "spare.size is {}: ", id="within an alternative"),
        pytest.param({"tags": {"year": "old"}}, 'tags.year is "old": ', id="within a mapping"),
        pytest.param({"wheels": 5}, "wheels is 5: ", id="a number for a list"),
        pytest.param({"wheels": [{"label": "left"}]}, 'wheels.0 is {"label": "left"}: ', id="a field that is missing: its object is shown"),
        pytest.param("a cart", 'the whole is "a cart": ', id="no object at all"),
        pytest.param({"wheels": [{"size": 1}, {"size": "a"}, {"size": "b"}]}, 'wheels.1.size is "a": ', id="of two mistakes the first"),
    ],
)  # fmt: skip
def test_the_first_misfit_is_named(raw: Any, start: str) -> None:
    """Where it stands by dotted path, what stands there, and what is wrong with it; the error below it is kept."""
    error = refused(raw)
    assert str(error).startswith(f"cart.json: {start}")
    assert len(str(error)) > len(f"cart.json: {start}")
    assert error.__cause__ is not None


def test_a_long_value_is_cut() -> None:
    """The message stays a line that can be read."""
    message = str(refused({"tags": {"year": "x" * 500}}))
    assert "x" * 50 in message
    assert "x" * 60 not in message


def test_a_value_that_json_does_not_know_is_shown() -> None:
    """Live objects in a mapping are named, and break nothing."""
    assert "object object" in str(refused({"tags": {"year": object()}}))


def test_a_schema_describes_the_dataclass() -> None:
    """It names every field, the parts that are used, and what may not be left out."""
    made = schema(Cart)
    assert set(made["properties"]) == {"wheels", "spare", "tags"}
    assert made["properties"]["spare"] == {"anyOf": [{"$ref": "#/$defs/Wheel"}, {"type": "null"}]}
    assert made["$defs"]["Wheel"]["required"] == ["size"]
