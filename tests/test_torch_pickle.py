"""State dicts are read out of the text of their pickles, and nothing in a pickle is ever run."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvl_preflight.safetensors import Tensor
from qvl_preflight.testing.files import _pickled
from qvl_preflight.torch_pickle import read_state_dict

# torch 2.14.1: torch.save({"a.weight": torch.zeros(2, 3, dtype=torch.float16), "b": torch.zeros(4)}), its data.pkl
WRITTEN_BY_TORCH = bytes.fromhex(
    "80027d7100285808000000612e776569676874710163746f7263682e5f7574696c730a5f72656275696c645f74656e736f725f76320a71022828580700000073746f72"
    "616765710363746f7263680a48616c6653746f726167650a71045801000000307105580300000063707571064b06747107514b004b024b038671084b034b0186710989"
    "63636f6c6c656374696f6e730a4f726465726564446963740a710a2952710b74710c52710d580100000062710e68022828680363746f7263680a466c6f617453746f72"
    "6167650a710f580100000031711068064b04747111514b004b048571124b0185711389680a29527114747115527116752e"
)

# torch 2.14.1: {"a.weight": torch.zeros(2, 3).to(torch.float8_e4m3fn), "b": torch.zeros(4, dtype=torch.uint16)}
UNTYPED = bytes.fromhex(
    "80027d7100285808000000612e776569676874710163746f7263682e5f7574696c730a5f72656275696c645f74656e736f725f76330a7102282858070000007374"
    "6f72616765710363746f7263682e73746f726167650a556e747970656453746f726167650a71045801000000307105580300000063707571064b06747107514b00"
    "4b024b038671084b034b018671098963636f6c6c656374696f6e730a4f726465726564446963740a710a2952710b63746f7263680a666c6f6174385f65346d3366"
    "6e0a710c74710d52710e580100000062710f6802282868036804580100000031711068064b08747111514b004b048571124b0185711389680a2952711463746f72"
    "63680a75696e7431360a7115747116527117752e"
)
# torch 2.14.1: base = torch.zeros(6, dtype=torch.float16); {"whole": base, "part": base[:2], "same": base.view(2, 3)}
VIEWS = bytes.fromhex(
    "80027d710028580500000077686f6c65710163746f7263682e5f7574696c730a5f72656275696c645f74656e736f725f76320a71022828580700000073746f7261"
    "6765710363746f7263680a48616c6653746f726167650a71045801000000307105580300000063707571064b06747107514b004b068571084b018571098963636f"
    "6c6c656374696f6e730a4f726465726564446963740a710a2952710b74710c52710d580400000070617274710e6802282868036804680568064b0674710f514b00"
    "4b028571104b0185711189680a29527112747113527114580400000073616d6571156802282868036804680568064b06747116514b004b024b038671174b034b01"
    "86711889680a2952711974711a52711b752e"
)


def test_what_torch_wrote() -> None:
    """Names, dtypes and shapes."""
    assert read_state_dict(WRITTEN_BY_TORCH) == (Tensor("a.weight", "F16", (2, 3), 12), Tensor("b", "F32", (4,), 16))


def test_tied_weights_count_once() -> None:
    """Two names of one storage, as of input and output embeddings; the first name stays, as in a safetensors file."""
    tied = WRITTEN_BY_TORCH.replace(b"u.", b"X\x01\x00\x00\x00ch\x0du.")
    assert read_state_dict(tied) == read_state_dict(WRITTEN_BY_TORCH)


def test_dtypes_that_have_no_storage_of_their_own() -> None:
    """Those of eight bits, and integers without a sign, are written as bytes, and the dtype beside them."""
    assert read_state_dict(UNTYPED) == (Tensor("a.weight", "F8_E4M3", (2, 3), 6), Tensor("b", "U16", (4,), 8))


def test_a_part_of_a_tensor_is_a_tensor_of_its_own() -> None:
    """From the same place in the same storage: loading copies it."""
    expected = (Tensor("whole", "F16", (6,), 12), Tensor("part", "F16", (2,), 4), Tensor("same", "F16", (2, 3), 12))
    assert read_state_dict(VIEWS) == expected


class Runs:
    """Unpickling one of these would be noticed."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('it was run')",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value", [Runs(), {"a": Runs()}, {"a": 1, "b": [1, 2.5, "x", None, True]}, [], "text", {("a",): 1}, {1: {2: 3}}]
)
def test_other_pickles_are_no_state_dicts(value: object, protocol: int) -> None:
    """And none of them is run."""
    assert read_state_dict(pickle.dumps(value, protocol)) is None


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_bytes_of_any_kind_are_survived(data: bytes) -> None:
    """Cut off, or no pickle at all."""
    read_state_dict(data)
    read_state_dict(WRITTEN_BY_TORCH[: len(data)] + data)


def test_what_the_testing_aid_writes_is_read() -> None:
    """It writes as torch does."""
    tensors = {"x": ("BF16", (3, 2)), "y": ("F32", ()), "z": ("U8", (5,))}
    assert read_state_dict(_pickled(tensors)) == (
        Tensor("x", "BF16", (3, 2), 12),
        Tensor("y", "F32", (), 4),
        Tensor("z", "U8", (5,), 5),
    )
