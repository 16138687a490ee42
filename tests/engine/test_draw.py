"""Which token comes next: pure, for every setting."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinkex.engine._base._stops import Stops
from tinkex.engine._compute._draw import draw
from tinkex.engine._compute._sampling import numbers
from tinkex.protocol.wire import SamplingParams

LOGITS = torch.tensor([0.0, 3.0, 1.0, 2.0, -4.0])
ORDER = [1, 3, 2, 0, 4]
"""The tokens, likeliest first."""


def many(params: SamplingParams, count: int = 4000, logits: torch.Tensor = LOGITS) -> Counter[int]:
    source = torch.Generator().manual_seed(1)
    return Counter(draw(logits, params, source) for _ in range(count))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_probabilities_say(temperature: float) -> None:
    drawn = many(SamplingParams(temperature=temperature))
    for token, share in enumerate(numbers(torch.softmax(LOGITS / temperature, -1))):
        assert drawn[token] / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 99])
def test_top_k_keeps_the_k_likeliest(k: int) -> None:
    assert set(many(SamplingParams(top_k=k, temperature=5.0))) == set(ORDER[:k])


@pytest.mark.parametrize("k", [0, -1])
def test_no_top_k_keeps_all(k: int) -> None:
    assert set(many(SamplingParams(top_k=k, temperature=5.0))) == set(ORDER)


@pytest.mark.parametrize(("p", "kept"), [(0.05, 1), (0.64, 1), (0.65, 2), (0.89, 3), (0.98, 4), (1.0, 5)])
def test_top_p_keeps_the_smallest_set_that_is_likely_enough(p: float, kept: int) -> None:
    """The shares are 0.643, 0.237, 0.087, 0.032 and 0.0006."""
    assert set(many(SamplingParams(top_p=p), 20_000)) == set(ORDER[:kept])


def test_top_p_counts_among_what_top_k_has_left() -> None:
    """Of the two likeliest the first has 0.73."""
    assert set(many(SamplingParams(top_k=2, top_p=0.72))) == {1}
    assert set(many(SamplingParams(top_k=2, top_p=0.74))) == {1, 3}


@given(
    st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=20),
    st.floats(0.0, 1e300),
    st.integers(-1, 30),
    st.floats(0.0, 1.0, exclude_min=True),
    st.integers(0, 2**32),
)
def test_any_setting_draws_a_token(logits: list[float], temperature: float, k: int, p: float, seed: int) -> None:
    """And the same one again from the same seed; without temperature, the likeliest."""
    params, tensor = SamplingParams(temperature=temperature, top_k=k, top_p=p), torch.tensor(logits)
    one, two = (draw(tensor, params, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert one == two
    assert 0 <= one < len(logits)
    if temperature == 0.0:
        assert tensor[one] == tensor.max()


@given(st.text("abc", min_size=1, max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_a_stop_ends_a_text_where_it_is_first_complete(text: str, strings: list[str]) -> None:
    """However the text is cut into tokens, empty ones among them: here one letter each, and an empty one between."""
    stops = Stops(strings=tuple(strings), decode=lambda tokens: "".join(chr(token) for token in tokens if token))
    tokens = [token for letter in text for token in (0, ord(letter))]
    ends = [at for at in range(1, len(tokens) + 1) if stops.end(tokens[:at])]
    complete = [at for at in range(1, len(text) + 1) if any(text[:at].endswith(one) for one in strings)]
    assert ends[:1] == [2 * at for at in complete[:1]]
