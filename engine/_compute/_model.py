"""A Qwen3-style decoder whose projections take LoRA weights as arguments."""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tinkex.engine._base._catalogue import DecoderConfig
from tinkex.engine._compute._causal_lm import Lora

KeyValues = dict[int, tuple[Tensor, Tensor]]
"""Keys and values [kv_heads, T, head_dim] so far, by layer."""


class Projection(nn.Module):
    """A linear map without bias, plus its LoRA part where the pass has one."""

    def __init__(self, wide_in: int, wide_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(wide_out, wide_in), requires_grad=False)
        self.path = ""

    def forward(self, x: Tensor, lora: Lora) -> Tensor:
        """Map ``x`` [T, in] to [T, out]."""
        y = functional.linear(x, self.weight)
        pair = lora.pairs.get(self.path)
        if pair is None:
            return y
        a, b = pair
        return torch.add(y, functional.linear(functional.linear(x, a), b), alpha=lora.scale)


class Embedding(nn.Module):
    """A table of states by token; unlike torch's own it draws nothing from the global generator."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, size), requires_grad=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn ``tokens`` [T] into [T, size]."""
        return functional.embedding(tokens, self.weight)


class RMSNorm(nn.Module):
    """Root mean square norm over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size), requires_grad=False)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` [..., size] to unit root mean square."""
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class Attention(nn.Module):
    """Causal grouped-query attention with normed queries and keys and rotary positions."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        self.layer = layer
        hidden, heads = config.hidden_size, config.num_attention_heads * config.head_dim
        shared = config.num_key_value_heads * config.head_dim
        self.q_proj = Projection(hidden, heads)
        self.k_proj = Projection(hidden, shared)
        self.v_proj = Projection(hidden, shared)
        self.o_proj = Projection(heads, hidden)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], lora: Lora, past: KeyValues | None) -> Tensor:
        """Attend within ``x`` [T, hidden], and to what is ``past``, which takes up the new keys and values."""
        length, config = x.shape[0], self.config
        by_head = (length, -1, config.head_dim)
        queries = rotate(self.q_norm.forward(self.q_proj.forward(x, lora).view(by_head)).transpose(0, 1), rope)
        keys = rotate(self.k_norm.forward(self.k_proj.forward(x, lora).view(by_head)).transpose(0, 1), rope)
        values = self.v_proj.forward(x, lora).view(by_head).transpose(0, 1)
        before = 0
        if past is not None:
            if self.layer in past:
                before = past[self.layer][0].shape[1]
                keys, values = (torch.cat(both, 1) for both in zip(past[self.layer], (keys, values), strict=True))
            past[self.layer] = keys, values
        groups = config.num_attention_heads // config.num_key_value_heads
        mixed = functional.scaled_dot_product_attention(
            queries.unsqueeze(0),
            keys.repeat_interleave(groups, 0).unsqueeze(0),
            values.repeat_interleave(groups, 0).unsqueeze(0),
            attn_mask=visible(length, before, x.device) if before else None,
            is_causal=not before,
        )
        return self.o_proj.forward(mixed.squeeze(0).transpose(0, 1).reshape(length, -1), lora)


class MLP(nn.Module):
    """The gated feed-forward part of a layer."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = Projection(config.hidden_size, config.intermediate_size)
        self.up_proj = Projection(config.hidden_size, config.intermediate_size)
        self.down_proj = Projection(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor, lora: Lora) -> Tensor:
        """Map ``x`` [T, hidden] to [T, hidden]."""
        gated = functional.silu(self.gate_proj.forward(x, lora)) * self.up_proj.forward(x, lora)
        return self.down_proj.forward(gated, lora)


class Layer(nn.Module):
    """Attention and feed-forward, each on a normed residual."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], lora: Lora, past: KeyValues | None) -> Tensor:
        """Map ``x`` [T, hidden] to [T, hidden]."""
        x = x + self.self_attn.forward(self.input_layernorm.forward(x), rope, lora, past)
        return x + self.mlp.forward(self.post_attention_layernorm.forward(x), lora)


class Backbone(nn.Module):
    """Embedding, layers and the last norm."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, number) for number in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, tokens: Tensor, rope: tuple[Tensor, Tensor], lora: Lora, past: KeyValues | None) -> Tensor:
        """Turn ``tokens`` [T] into states [T, hidden]."""
        x = self.embed_tokens.forward(tokens)
        for layer in self.layers:
            x = cast("Layer", layer).forward(x, rope, lora, past)
        return self.norm.forward(x)


class Decoder(nn.Module):
    """A ``CausalLM``; module names and shapes are those of Hugging Face's Qwen3ForCausalLM, embeddings not tied."""

    def __init__(self, config: DecoderConfig, device: str = "cpu") -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.lm_head = Projection(config.hidden_size, config.vocab_size)
        for path, module in cast("Iterable[tuple[str, nn.Module]]", self.named_modules()):
            if isinstance(module, Projection):
                module.path = path
        self.requires_grad_(requires_grad=False)
        self._fill()
        self.to(device)
        self._rope = rope_table(config, device)

    @property
    def projections(self) -> Mapping[str, tuple[int, int]]:
        """The (out, in) sizes of every module that LoRA can adapt."""
        return self.config.projections()

    def _fill(self) -> None:
        """Draw all weights from the model's own generator; norms stay 1."""
        source = torch.Generator().manual_seed(self.config.seed)
        for name, weight in self.named_parameters():
            if not name.endswith("norm.weight"):
                weight.normal_(0.0, self.config.initializer_range, generator=source)

    def forward(self, tokens: Tensor, lora: Lora) -> Tensor:
        """Turn ``tokens`` [T] int64 into logits [T, vocab] float32."""
        return self._run(tokens, lora, 0, None)

    logits = forward

    def begin(self) -> KeyValues:
        """Return the cache of an empty sequence."""
        return {}

    def extend(self, cache: KeyValues, tokens: Tensor, lora: Lora) -> Tensor:
        """Append ``tokens`` [T] int64 to the sequence of ``cache``; return their logits [T, vocab] float32."""
        return self._run(tokens, lora, cache[0][0].shape[1] if cache else 0, cache)

    def _run(self, tokens: Tensor, lora: Lora, begin: int, past: KeyValues | None) -> Tensor:
        end = begin + tokens.shape[0]
        rope = (self._rope[0][begin:end], self._rope[1][begin:end])
        return self.lm_head.forward(self.model.forward(tokens, rope, lora, past), lora)


def visible(length: int, before: int, device: torch.device) -> Tensor:
    """Return which of ``before + length`` positions each of the last ``length`` may attend to."""
    return torch.ones(length, before + length, dtype=torch.bool, device=device).tril(before)


def rope_table(config: DecoderConfig, device: str) -> tuple[Tensor, Tensor]:
    """Return cosines and sines [max_context, head_dim] of the rotary positions."""
    steps = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    angles = torch.outer(torch.arange(config.max_position_embeddings, dtype=torch.float32), config.rope_theta**-steps)
    both = torch.cat((angles, angles), dim=-1)
    return both.cos().to(device), both.sin().to(device)


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Apply rotary positions to ``x`` [heads, T, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return x * rope[0] + torch.cat((-second, first), dim=-1) * rope[1]
