"""Where an adapter's tensors lie."""

import itertools

import pytest

from tinkex.engine._base._catalogue import DecoderConfig
from tinkex.engine._base._layout import LORA_ALPHA, Layout, LoraSpec

PROJECTIONS = DecoderConfig().projections()


@pytest.mark.parametrize(("mlp", "attn", "unembed"), list(itertools.product((False, True), repeat=3)))
def test_the_flags_choose_the_modules(mlp: bool, attn: bool, unembed: bool) -> None:
    """Each flag adds its own modules and nothing else."""
    layout = Layout.of(PROJECTIONS, LoraSpec(4, 1, mlp, attn, unembed))
    adapted = {slot.module for slot in layout.slots}
    expected = {
        module
        for module in PROJECTIONS
        if (".mlp." in module and mlp) or (".self_attn." in module and attn) or (module == "lm_head" and unembed)
    }
    assert adapted == expected


def test_the_slots_fill_the_buffer_without_gap_or_overlap() -> None:
    """Back to back, A before B, as the sizes say."""
    layout = Layout.of(PROJECTIONS, LoraSpec(8, 1, True, True, True))
    offset = 0
    for slot in layout.slots:
        assert slot.offset == offset
        offset += slot.size
        out, into = PROJECTIONS[slot.module]
        assert slot.shape == ((8, into) if slot.part == "lora_A" else (out, 8))
    assert layout.size == offset
    assert layout.nbytes == 16 * offset
    assert layout.scale == LORA_ALPHA / 8
    assert layout.slots[0].key == "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def test_the_full_adapter_of_rank_32_has_the_known_size() -> None:
    """96,256 numbers for the built-in model."""
    assert Layout.of(PROJECTIONS, LoraSpec(32, 1, True, True, True)).size == 96_256


def test_a_shape_says_what_two_adapters_must_share() -> None:
    """The seed is no part of it."""
    assert LoraSpec(4, 1, True, False, True).shape == "rank 4 on mlp+unembed"
