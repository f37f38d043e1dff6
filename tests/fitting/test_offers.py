"""What would make it fit: each offer is the call that it stands for, and its bytes are the difference of two estimates."""

from __future__ import annotations

import pytest

from fitting_calls import GIB, needs, question
from qvl_preflight.fitting.offers import offers, other_gpus
from qvl_preflight.memory.ranks import Sharing
from qvl_preflight.testing import machine


@pytest.mark.parametrize("free", [3, 6, 12, 16])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_is_offered_fits(free: int, method: str) -> None:
    """And says rightly what it needs and saves."""
    wanted = question(f"{free}GiB", method=method, batch=4)
    assert wanted.verdict == "too large"
    found = offers(wanted)
    for offer in found:
        assert offer.question.holds is True
        assert offer.needs == needs(offer.question) <= free * GIB
        assert offer.saves == needs(wanted) - offer.needs
        assert not offer.steps or sum(size for _, size in offer.steps) == offer.saves
    assert found or free < 6


def test_what_leaves_the_result_as_it_is_comes_first() -> None:
    """What is in use already is not offered."""
    found = offers(question("8GiB", method="lora", batch=4))
    assert found[0].text == "gradient checkpointing"
    same = [offer.same for offer in found]
    assert same == sorted(same, reverse=True)
    assert "gradient checkpointing" not in " ".join(offer.text for offer in offers(found[0].question.step(length=8192, batch=4)))


def test_nothing_is_offered_where_it_fits() -> None:
    assert offers(question("80GiB")) == ()
    assert offers(question()) == ()


def test_two_gpus_are_offered_where_one_is_too_small() -> None:
    """The map is worked out, and each of them holds its part."""
    wanted = question("1.6GiB", "1.6GiB", length=256, intermediate_size=4096)
    assert wanted.verdict == "too large"
    found = [offer for offer in offers(wanted) if "GPUs" in offer.text]
    for offer in found:
        assert offer.same
        assert len([held for held in offer.question.holdings if held.estimate is not None]) == 2
    assert all(offer.question.call.case.request.kwargs["device_map"] == "auto" for offer in found)


def test_sdpa_is_offered_in_place_of_eager() -> None:
    wanted = question("8GiB", attention="eager", length=8192)
    assert "attention by sdpa" in [offer.text for offer in offers(wanted)]


def test_the_other_gpu_of_the_machine() -> None:
    """Where the first is held by others."""
    gpu = machine("a100").to_dict()["gpus"][0]
    facts = machine("a100", gpus=[{**gpu, "free_bytes": GIB}, {**gpu, "index": 1, "uuid": "GPU-1", "free_bytes": 40 * GIB}])
    wanted = question(facts=facts)
    assert [held.verdict for held in wanted.holdings] == ["too large", "fits"]
    assert wanted.verdict == "fits"
    assert other_gpus(wanted) == ("cuda:1",)


@pytest.mark.parametrize("sharing", [Sharing(8, 8), Sharing(8, 8, 1), Sharing(8, 8, fsdp=True)], ids=lambda one: one.kind)
def test_ranks_are_offered_to_share_more(sharing: Sharing) -> None:
    """A job of ranks that do not fit is offered to divide more of it, or to keep it in RAM."""
    wanted = question("8GiB", method="full", length=256, sharing=sharing, num_hidden_layers=88)
    assert wanted.verdict == "too large"
    texts = " ".join(offer.text for offer in offers(wanted))
    assert "ZeRO-3" in texts or "RAM" in texts
