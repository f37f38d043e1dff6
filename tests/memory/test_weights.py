"""The bytes of weights in memory, held against what an H100 showed (torch.cuda.memory_allocated after the load, transformers 5.17)."""

from __future__ import annotations

import pytest

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.memory.loaded import once
from qvl_preflight.memory.loader import Loader
from qvl_preflight.memory.weights import in_memory
from qvl_preflight.plan import Quantization
from qvl_preflight.safetensors import Tensor
from qvl_preflight.testing.checkpoints import described
from qvl_preflight.unknown import Undecided, Unknown

HIDDEN, INNER, VOCAB, KEYS, LAYERS = 2048, 5632, 32000, 256, 22


def tensor(name: str, *shape: int, dtype: str = "BF16") -> Tensor:
    count = 1
    for dimension in shape:
        count *= dimension
    return Tensor(name, dtype, shape, count * {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "U8": 1, "F8_E4M3": 1}[dtype])


def llama() -> tuple[Tensor, ...]:
    """The tensors of the recorded model: Llama's classes, 1.1 billion weights."""
    found = [
        tensor("model.embed_tokens.weight", VOCAB, HIDDEN),
        tensor("model.norm.weight", HIDDEN),
        tensor("lm_head.weight", VOCAB, HIDDEN),
    ]
    for number in range(LAYERS):
        at = f"model.layers.{number}."
        found += [
            tensor(f"{at}self_attn.{name}_proj.weight", rows, HIDDEN)
            for name, rows in (("q", HIDDEN), ("k", KEYS), ("v", KEYS), ("o", HIDDEN))
        ]
        found += [tensor(f"{at}mlp.{name}_proj.weight", INNER, HIDDEN) for name in ("gate", "up")]
        found += [tensor(f"{at}mlp.down_proj.weight", HIDDEN, INNER)]
        found += [tensor(f"{at}{name}_layernorm.weight", HIDDEN) for name in ("input", "post_attention")]
    return tuple(found)


def total(tensors: tuple[Tensor, ...], dtype: str | Unknown, quantization: Quantization | None, **config: object) -> int:
    return sum(each.total_bytes for each in in_memory(described(tensors, **config), dtype, quantization))


BNB = {"load_in_4bit": True}


@pytest.mark.parametrize(
    ("quantization", "allocated"),
    [
        (None, 2200097792),
        (Quantization("bitsandbytes", BNB, pre_quantized=False), 827328512),
        (Quantization("bitsandbytes", {**BNB, "bnb_4bit_use_double_quant": True}, pre_quantized=False), 782419968),
        (Quantization("bitsandbytes", {"load_in_8bit": True}, pre_quantized=False), 1239081984),
    ],
    ids=["bfloat16", "nf4", "nf4, double", "int8"],
)
def test_recorded_loads(quantization: Quantization | None, allocated: int) -> None:
    """Never more than was there: torch leaves blocks of 1 MiB unsplit (19 with 4 bits, 6 with 8), and rounds each tensor, scale and table up to 512 bytes."""
    unsplit, rounding = divmod(allocated - total(llama(), "bfloat16", quantization), 2**20)
    assert unsplit in (0, 6, 19)
    assert rounding < 512 * 4 * 154


def test_the_dtype_that_is_asked_for_counts() -> None:
    assert total(llama(), "float32", None) == 2 * total(llama(), "float16", None)
    with pytest.raises(Undecided):
        total(llama(), Unknown("the release"), None)


def test_tied_output_layers_are_no_memory_of_their_own() -> None:
    names = [each.name for each in once({"tie_word_embeddings": True}, llama())]
    assert "lm_head.weight" not in names
    assert len(names) == len(llama()) - 1
    assert "lm_head.weight" in [each.name for each in once({}, llama())]


def test_what_is_quantised_already_lies_as_it_is_stored() -> None:
    """Integers keep their width, floats take the dtype, the float32 scales of fp8 stay."""
    tensors = (
        tensor("model.layers.0.mlp.up_proj.qweight", 256, 1024, dtype="I32"),
        tensor("model.layers.0.mlp.up_proj.scales", 16, 1024, dtype="F32"),
    )
    assert total(tensors, "float16", Quantization("gptq", {}, pre_quantized=True)) == 256 * 1024 * 4 + 16 * 1024 * 2
    tensors = (
        tensor("model.layers.0.mlp.up_proj.weight", 256, 256, dtype="F8_E4M3"),
        tensor("model.layers.0.mlp.up_proj.weight_scale_inv", 2, 2, dtype="F32"),
    )
    assert total(tensors, "bfloat16", Quantization("fp8", {}, pre_quantized=True)) == 256 * 256 + 4 * 4


def test_scales_of_gptq_are_float16_since_transformers_5() -> None:
    """Whatever the call says: the layer's own dtype counts there."""
    tensors = (tensor("model.layers.0.mlp.up_proj.scales", 16, 1024, dtype="F16"),)
    how = Quantization("gptq", {}, pre_quantized=True)
    assert [each.total_bytes for each in in_memory(described(tensors), "float32", how)] == [16 * 1024 * 2]
    assert [each.total_bytes for each in in_memory(described(tensors), "float32", how, Loader((4, 57)))] == [16 * 1024 * 4]


def test_experts_stay_as_they_are_since_transformers_5() -> None:
    """They are one tensor then, and bitsandbytes takes linear layers; of a family that was not read it is not known."""
    tensors = (tensor("model.layers.0.mlp.experts.0.up_proj.weight", 256, 256), tensor("model.layers.0.mlp.gate.weight", 4, 256))
    how = Quantization("bitsandbytes", BNB, pre_quantized=False)
    for release, expected in (((5, 0, 0), {"bfloat16"}), ((4, 57, 1), {"4bit"})):
        found = in_memory(described(tensors, model_type="mixtral"), "bfloat16", how, Loader(release))
        assert {each.dtype for each in found} == expected
    with pytest.raises(Undecided):
        in_memory(described(tensors, model_type="a-new-one"), "bfloat16", how)


def test_a_layout_that_is_not_known_is_not_guessed() -> None:
    with pytest.raises(Undecided):
        total(llama(), "bfloat16", Quantization("hqq", {}, pre_quantized=False))


@pytest.mark.parametrize(
    ("release", "named", "stays"),
    [
        ((4, 57, 1), ["mlp"], ("mlp.up_proj",)),  # "mlp." is in the name
        ((4, 57, 1), ["proj"], ()),
        ((4, 37, 2), ["proj"], ("mlp.up_proj", "self_attn.q_proj")),  # any part of a name
        ((5, 23, 0), ["mlp"], ()),  # from the beginning, or at the end
        ((5, 23, 0), ["up_proj"], ("mlp.up_proj",)),
        ((5, 23, 0), ["model.layers.0"], ("mlp.up_proj", "self_attn.q_proj")),
        ((5, 23, 0), None, ("lm_head",)),
    ],
)
def test_skipped_modules_stay_as_they_are(release: tuple[int, ...], named: list[str] | None, stays: tuple[str, ...]) -> None:
    """What llm_int8_skip_modules names, each release in its way; the output layer only where nothing is named."""
    skip = Quantization("bitsandbytes", {**BNB, "llm_int8_skip_modules": named}, pre_quantized=False)
    by_name = {each.name: each for each in in_memory(described(llama()), "bfloat16", skip, Loader(release))}
    for layer in ("mlp.up_proj", "self_attn.q_proj", "lm_head"):
        name = f"{layer}.weight" if layer == "lm_head" else f"model.layers.0.{layer}.weight"
        assert by_name[name].dtype == ("bfloat16" if layer in stays else "4bit"), layer


def test_a_pattern_that_is_none() -> None:
    """transformers 5 takes the names for regular expressions."""
    skip = Quantization("bitsandbytes", {**BNB, "llm_int8_skip_modules": ["("]}, pre_quantized=False)
    with pytest.raises(Undecided):
        in_memory(described(llama()), "bfloat16", skip)


def test_nothing_is_known_of_a_checkpoint_without_weights() -> None:
    with pytest.raises(Undecided):
        in_memory(Checkpoint("/nowhere", {}), "bfloat16", None)
