"""The built-in decoder: fixed bits, Hugging Face's names, causal."""

import copy
import hashlib
import itertools
import math
from collections.abc import Iterable
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from tinkex.engine._base._catalogue import DecoderConfig
from tinkex.engine._compute._causal_lm import Lora
from tinkex.engine._compute._model import Decoder, Projection

torch.set_num_threads(1)  # two threads stall each other on a busy machine

CONFIG = DecoderConfig()
TOKENS = torch.tensor([1, 70, 300, 5, 5, 511, 0, 33])


def fingerprint(decoder: Decoder) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(decoder.state_dict().items()):
        digest.update(name.encode() + weight.numpy().tobytes())
    return digest.hexdigest()


def plain_logits(decoder: Decoder, tokens: Tensor) -> Tensor:
    """The same decoder written out in float64, with an explicit mask and rotation, from its weights alone."""
    w: dict[str, Tensor] = {name: weight.double() for name, weight in decoder.state_dict().items()}
    config, length = decoder.config, len(tokens)

    def norm(x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + config.rms_norm_eps).sqrt() * w[f"{name}.weight"]

    def rotated(x: Tensor) -> Tensor:
        half, out = config.head_dim // 2, torch.empty_like(x)
        for position in range(length):
            for i in range(half):
                angle = position * config.rope_theta ** (-2 * i / config.head_dim)
                a, b = x[position, :, i], x[position, :, i + half]
                out[position, :, i] = a * math.cos(angle) - b * math.sin(angle)
                out[position, :, i + half] = b * math.cos(angle) + a * math.sin(angle)
        return out

    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config.num_hidden_layers):
        at = f"model.layers.{layer}"
        h = norm(x, f"{at}.input_layernorm")
        q, k, v = (
            (h @ w[f"{at}.self_attn.{p}_proj.weight"].T).view(length, -1, config.head_dim) for p in ("q", "k", "v")
        )
        q, k = rotated(norm(q, f"{at}.self_attn.q_norm")), rotated(norm(k, f"{at}.self_attn.k_norm"))
        heads: list[Tensor] = []
        for head in range(config.num_attention_heads):
            shared = head * config.num_key_value_heads // config.num_attention_heads
            scores = q[:, head] @ k[:, shared].T / math.sqrt(config.head_dim)
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -math.inf)
            heads.append(scores.softmax(-1) @ v[:, shared])
        x = x + torch.cat(heads, -1) @ w[f"{at}.self_attn.o_proj.weight"].T
        h = norm(x, f"{at}.post_attention_layernorm")
        gate = h @ w[f"{at}.mlp.gate_proj.weight"].T
        x = x + (gate * gate.sigmoid() * (h @ w[f"{at}.mlp.up_proj.weight"].T)) @ w[f"{at}.mlp.down_proj.weight"].T
    return norm(x, "model.norm") @ w["lm_head.weight"].T


def test_the_bits_come_from_the_models_own_seed() -> None:
    """The global generator neither changes them nor is drawn from."""
    torch.manual_seed(1)  # pyright: ignore[reportUnknownMemberType] - torch
    one = fingerprint(Decoder(CONFIG))
    torch.manual_seed(2)  # pyright: ignore[reportUnknownMemberType] - torch
    state = torch.random.get_rng_state()
    assert fingerprint(Decoder(CONFIG)) == one
    assert torch.equal(torch.random.get_rng_state(), state)
    assert fingerprint(Decoder(DecoderConfig(seed=1))) != one


def test_the_base_is_wide_enough_to_be_taught() -> None:
    """All weights have a standard deviation of 0.1; norms are 1."""
    for name, weight in Decoder(CONFIG).named_parameters():
        if "norm" in name:
            assert torch.equal(weight, torch.ones_like(weight))
        else:
            assert 0.09 < float(weight.std()) < 0.11, name


def test_names_are_those_of_qwen3() -> None:
    """A Qwen3 checkpoint of the same shape would load by name."""
    names = set(Decoder(CONFIG).state_dict())
    layer = {
        f"model.layers.0.{name}.weight"
        for name in (
            "input_layernorm",
            "post_attention_layernorm",
            *(f"self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")),
            *(f"mlp.{part}" for part in ("gate_proj", "up_proj", "down_proj")),
        )
    }
    assert {name for name in names if ".0." in name} == layer
    assert names - layer - {name for name in names if ".1." in name} == {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "lm_head.weight",
    }


def test_the_catalogue_knows_the_projections() -> None:
    """What can be said of a model without loading it is what loading finds."""
    decoder = Decoder(CONFIG)
    modules = dict(cast("Iterable[tuple[str, nn.Module]]", decoder.named_modules()))
    found = {path: tuple(m.weight.shape) for path, m in modules.items() if isinstance(m, Projection)}
    assert found == dict(CONFIG.projections())
    assert list(found) == list(CONFIG.projections())
    assert all(not weight.requires_grad for weight in decoder.parameters())


def test_logits_are_those_of_the_architecture() -> None:
    """Attention, rotation, norms and the gate are what the name promises."""
    decoder = Decoder(CONFIG)
    logits = decoder.forward(TOKENS, Lora()).double()
    torch.testing.assert_close(logits, plain_logits(decoder, TOKENS), rtol=1e-4, atol=1e-5)


def test_a_position_never_sees_what_follows() -> None:
    """Changing a later token changes no earlier logits."""
    decoder = Decoder(CONFIG)
    changed = TOKENS.clone()
    changed[5] = 9
    before, after = decoder.forward(TOKENS, Lora()), decoder.forward(changed, Lora())
    assert torch.equal(before[:5], after[:5])
    assert not torch.equal(before[5:], after[5:])


@pytest.mark.parametrize("cuts", [[1], [3], [2, 5], [1, 2, 3, 4, 5, 6, 7]])
def test_a_sequence_in_pieces_has_the_logits_of_the_whole(cuts: list[int]) -> None:
    """However it is cut; what a fork appends, the other does not see."""
    decoder = Decoder(CONFIG)
    whole = decoder.logits(TOKENS, Lora())
    cache = decoder.begin()
    pieces: list[Tensor] = []
    for begin, end in itertools.pairwise([0, *cuts, len(TOKENS)]):
        fork = copy.deepcopy(cache)
        decoder.extend(fork, TOKENS[:1], Lora())
        pieces.append(decoder.extend(cache, TOKENS[begin:end], Lora()))
    assert torch.allclose(torch.cat(pieces), whole, atol=1e-4)
