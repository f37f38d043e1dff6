"""Releases as numbers, and rows of version knowledge by the installed release."""

from __future__ import annotations

from typing import Literal

import pytest

from qvl_preflight.facts import Facts, Packages
from qvl_preflight.unknown import Undecided, Unknown
from qvl_preflight.versions import ByRelease, Evidence, Row, parse


@pytest.mark.parametrize(
    ("version", "release"),
    [
        pytest.param("4.37.2", (4, 37, 2), id="three numbers"),
        pytest.param("2.1", (2, 1, 0), id="two numbers are filled up"),
        pytest.param("5", (5, 0, 0), id="one number is filled up"),
        pytest.param("2.1.2+cu121", (2, 1, 2), id="a local part is dropped"),
        pytest.param("5.0.0rc3", (5, 0, 0), id="a release candidate counts as its release"),
        pytest.param("4.38.0.dev0", (4, 38, 0), id="a development version counts as its release"),
        pytest.param("0.41.3.post2", (0, 41, 3), id="a post release counts as its release"),
        pytest.param("1.2.3.4", (1, 2, 3, 4), id="a fourth number stays"),
        pytest.param("v4.37", (4, 37, 0), id="a leading v is allowed"),
        pytest.param("", None, id="empty"),
        pytest.param("main", None, id="a branch"),
        pytest.param("4.37.x", None, id="a wildcard"),
    ],
)
def test_a_version_as_numbers(version: str, release: tuple[int, ...] | None) -> None:
    """What pip would compare, as numbers; None for what is no version."""
    assert parse(version) == release


def test_numbers_compare_where_texts_would_not() -> None:
    """4.4 is older than 4.32, and 2.1 is 2.1.0."""
    older, newer = parse("4.4"), parse("4.32.0")
    assert older is not None
    assert newer is not None
    assert older < newer
    assert parse("2.1") == parse("2.1.0")


LAYOUT = ByRelease(
    "transformers",
    Row("4.32", "4.35", "old", Evidence.RECORDED, "transformers 4.32.0 modeling_utils.py"),
    Row("4.35", "5.0", "middle", Evidence.RUN, "transformers 4.37.2 modeling_utils.py"),
    Row("5.2", None, "new", Evidence.SOURCE, "transformers 5.23.0 modeling_utils.py"),
)
ENDED = ByRelease("auto-gptq", Row("0.4", "0.8", "kernels", Evidence.RUN, "auto-gptq 0.7.1"))


def installed(**versions: str | Literal[False] | Unknown) -> Packages:
    """Packages of which nothing else is installed."""
    return Packages(Facts(packages={name.replace("_", "-"): version for name, version in versions.items()}))


@pytest.mark.parametrize(
    ("version", "value"),
    [
        pytest.param("4.32.0", "old", id="since is included"),
        pytest.param("4.34.99", "old", id="just before until"),
        pytest.param("4.35.0", "middle", id="until is not included"),
        pytest.param("4.35.0.dev0", "middle", id="a development version has what its release has"),
        pytest.param("5.2.0", "new", id="a row without an end begins"),
        pytest.param("9.9", "new", id="and goes on"),
    ],
)
def test_the_row_of_the_installed_release(version: str, value: str) -> None:
    """The row whose half-open range holds the release."""
    assert LAYOUT.value(installed(transformers=version)) == value
    assert LAYOUT.row(installed(transformers=version)).value == value


@pytest.mark.parametrize(
    ("packages", "reason"),
    [
        pytest.param(installed(transformers="4.31.0"), "transformers 4.31.0 is older than what was read", id="before the first row"),
        pytest.param(installed(), "transformers is not installed", id="not installed"),
        pytest.param(installed(transformers=False), "transformers is not installed", id="said not to be installed"),
        pytest.param(installed(transformers=Unknown("no pip there")), "no pip there", id="unknown"),
        pytest.param(installed(transformers="main"), "transformers has the version 'main', which is not a version number", id="no version"),
    ],
)  # fmt: skip
def test_a_release_without_a_row_is_undecided(packages: Packages, reason: str) -> None:
    """Nothing is guessed from a neighbouring row."""
    with pytest.raises(Undecided) as caught:
        LAYOUT.value(packages)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("table", "packages"),
    [
        pytest.param(ENDED, installed(auto_gptq="0.9.0"), id="after the last row"),
        pytest.param(LAYOUT, installed(transformers="5.1.0"), id="between two rows"),
    ],
)
def test_a_release_that_is_not_older_is_not_called_older(table: ByRelease[str], packages: Packages) -> None:
    """A release beyond what was read, or in a gap of it, is undecided with a reason that is true of it."""
    with pytest.raises(Undecided) as caught:
        table.value(packages)
    assert "older" not in caught.value.reason
    assert table.package in caught.value.reason
