"""Names that are almost those of variables that somebody reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qvl_preflight.spelling import _KNOWN, _may_be_near, distance, meant


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("CUDA_VISIBILE_DEVICES", "CUDA_VISIBLE_DEVICES"),
        ("CUDA_VISIBLE_DEVICE", "CUDA_VISIBLE_DEVICES"),
        ("CUDA_VISBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
        ("CUDA_VISIABLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
        ("CUDA_VISIBLE_DEVCIES", "CUDA_VISIBLE_DEVICES"),
        ("CUDA_VISIBLES_DEVICE", "CUDA_VISIBLE_DEVICES"),
        ("cuda_visible_devices", "CUDA_VISIBLE_DEVICES"),
        ("NVIDIA_VISIBLE_DEVICE", "NVIDIA_VISIBLE_DEVICES"),
        ("CUDA_DEVICES_ORDER", "CUDA_DEVICE_ORDER"),
        ("TRANSFORMER_OFFLINE", "TRANSFORMERS_OFFLINE"),
        ("HF_HUB_OFLINE", "HF_HUB_OFFLINE"),
        ("PYTORCH_CUDA_ALOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"),
    ],
)
def test_a_slip_is_known_for_what_was_meant(name: str, known: str) -> None:
    """Up to two letters, or the case."""
    assert meant(name) == known


@pytest.mark.parametrize(
    "name",
    [
        "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES", "HABANA_VISIBLE_DEVICES",
        "MUSA_VISIBLE_DEVICES", "MACA_VISIBLE_DEVICES", "GPU_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF",
        "CUDA_VISIBLE_DEVICES_OLD", "CUDA_HOME", "CUDA_DEVICE", "HF_HUB_CACHE", "HF_DATASETS_OFFLINE", "GLOBAL_RANK", "HOME", "",
    ],
)  # fmt: skip
def test_a_name_that_is_meant_as_it_is(name: str) -> None:
    """Names that other programs read, and those that are right."""
    assert meant(name) is None


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [
        ("", "", 0),
        ("ab", "ab", 0),
        ("ab", "b", 1),
        ("ab", "abc", 1),
        ("ab", "cb", 1),
        ("ab", "ba", 1),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
    ],
)
def test_the_distance_of_two_words(one: str, other: str, steps: int) -> None:
    """Either way round; neighbours that changed places are one slip."""
    assert distance(one, other) == distance(other, one) == steps


@given(
    st.sampled_from(_KNOWN), st.lists(st.tuples(st.integers(0, 19), st.integers(0, 1), st.text("ABC_XYZ", max_size=2)), max_size=2)
)
def test_nothing_near_is_left_out_unasked(known: str, slips: list[tuple[int, int, str]]) -> None:
    """The quick look that comes before the distance lets every slip pass that the distance would take."""
    written = known
    for place, gone, put in slips:
        written = written[:place] + put + written[place + gone :]
    assert distance(written, known) > 2 or _may_be_near(written, known)
