"""A call against GPUs: alone, spread over several, and as one of several ranks."""

from __future__ import annotations

import pytest

from fitting_calls import GIB, needs, question
from qvl_preflight.fitting.limits import limits
from qvl_preflight.fitting.spread import Spread
from qvl_preflight.memory.ranks import Sharing
from qvl_preflight.unknown import Unknown

AUTO = {"device_map": "auto"}


def spread(found: Spread | Unknown | None) -> Spread:
    assert isinstance(found, Spread)
    return found


def test_the_longest_sequence_and_the_largest_batch_fit_and_the_next_do_not() -> None:
    wanted = question("8GiB", method="lora")
    most = limits(wanted)
    assert most.sequence is not None
    assert most.batch is not None
    assert needs(wanted.step(length=most.sequence)) <= 8 * GIB < needs(wanted.step(length=most.sequence + 64))
    assert needs(wanted.step(batch=most.batch)) <= 8 * GIB < needs(wanted.step(batch=most.batch + 1))
    assert not most.bound
    assert limits(question("1GiB", method="lora")).sequence is None


@pytest.mark.parametrize("positions", [1, 60, 100, 128, 8192])
def test_the_model_ends_the_sequence_where_memory_does_not(positions: int) -> None:
    """To the last position, whatever it is a multiple of."""
    most = limits(question("80GiB", max_position_embeddings=positions))
    assert (most.sequence, most.bound) == (positions, True)


def test_a_map_over_two_gpus_shares_all_of_it() -> None:
    """The weights of both are those of one, and each has a context and the keys and values of its own layers."""
    wanted = question("2x3GiB", kwargs=AUTO, length=1024)
    found = spread(wanted.spread)
    assert set(found.shares) == {"cuda:0", "cuda:1"}
    whole = wanted.estimate
    together = sum(share.weights_bytes for share in found.shares.values())
    assert abs(together - whole.weights_bytes) < 2**16
    assert max(share.weights_bytes for share in found.shares.values()) < whole.weights_bytes
    assert not found.away


@pytest.mark.parametrize("method", [None, "lora", "full"])
@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}], ids=["two heads", "tied"])
def test_a_gpu_without_a_layer_has_figures_too(method: str | None, changes: dict[str, bool]) -> None:
    """One that holds the embeddings or the output layer alone."""
    names = {"model.embed_tokens": 0, "model.layers": 1, "model.norm": 2, "lm_head": 2}
    wanted = question("3x80GiB", method=method, kwargs={"device_map": names}, **changes)
    totals = [share.total_bytes for share in spread(wanted.spread).shares.values()]
    assert all(isinstance(total, int) and total > 0 for total in totals)
    assert wanted.verdict == "fits"


def test_all_on_one_gpu_is_the_estimate_of_one_gpu() -> None:
    for method in (None, "lora", "full"):
        alone = question("80GiB", method=method)
        mapped = question("80GiB", method=method, kwargs={"device_map": {"": 0}})
        assert spread(mapped.spread).shares["cuda:0"] == alone.estimate


def test_what_spills_is_named_before_it_happens() -> None:
    """As the plan of check has it; the GPU that runs it is lent the largest of it."""
    wanted = question("1.5GiB", kwargs=AUTO, length=256)
    found = spread(wanted.spread)
    assert wanted.verdict in ("spills", "too large")
    assert wanted.holds is False
    assert sum(away.total_bytes for away in found.away.values()) > 0
    assert all(found.homes[name] in ("cpu", "disk") for away in found.away.values() for name in away.modules)
    assert found.shares["cuda:0"].gathered_bytes > 0


def test_what_a_map_puts_beside_the_gpus_is_meant_so() -> None:
    """It runs, slowly; a strategy that leaves something there is another matter."""
    names = {"model.embed_tokens": 0, "model.layers": 0, "model.norm": 0, "lm_head": "cpu"}
    wanted = question("24GiB", kwargs={"device_map": names})
    assert spread(wanted.spread).away["cpu"].modules == ("lm_head",)
    assert wanted.verdict == "fits"
    assert question("1MiB", kwargs=AUTO).verdict in ("spills", "too large")
    assert question("24GiB", kwargs={"device_map": "cpu"}).holds is None


def test_a_rank_that_does_not_fit_is_not_outweighed_by_one_that_does() -> None:
    """Each GPU must hold its rank; alone, one that holds it is enough."""
    wanted = question("80GiB", "2GiB", method="full", sharing=Sharing(2, 2))
    assert [held.verdict for held in wanted.holdings] == ["fits", "too large"]
    assert wanted.verdict == "too large"
    assert question("80GiB", "2GiB", method="full").verdict == "fits"


def test_a_step_that_is_not_known_is_not_called_fitting() -> None:
    """The weights alone decide where they are too large."""
    assert question("80GiB", model_type="mamba").verdict == "unknown"
    assert question("80GiB", model_type="mamba").holds is None
    assert question("2GiB", model_type="mamba").verdict == "too large"
