import math
import re
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_protocol import datum, lines_run, policy_datum
from tinkex.protocol import Datum, EncodedTextChunk, ModelInput, TensorData, TinkexError, check_data
from tinkex.protocol import _blocks as blocks
from tinkex.protocol import _check_data as singly

POLICY_LOSSES = ("importance_sampling", "ppo", "cispo", "dro")


def test_good_data_passes() -> None:
    assert check_data([datum()], "cross_entropy") is None
    assert check_data((datum(), datum()), "cross_entropy", {}) is None


@pytest.mark.parametrize("loss_fn", POLICY_LOSSES)
def test_good_policy_data_passes_with_and_without_a_mask(loss_fn: str) -> None:
    assert check_data([policy_datum()], loss_fn, {"beta": 0.05}) is None
    assert check_data([policy_datum(weights=[1.0, 1.0, 0.0])], loss_fn) is None


def test_several_targets_per_position_pass() -> None:
    several = datum(target_tokens=[[1, 2], [3, 4], [5, 6]], weights=[[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    assert check_data([several], "cross_entropy") is None


def test_an_unknown_loss_is_left_to_the_server() -> None:
    strange = Datum(ModelInput.from_ints([1]), {"anything": np.array([[1.0, 2.0]])})
    assert check_data([strange], "gspo") is None


BAD: list[tuple[Any, Any, Any, str]] = [
    ([], "cross_entropy", None, "data is empty"),
    ((), "cross_entropy", None, "data is empty"),
    (None, "cross_entropy", None, "data must be a list"),
    (datum(), "cross_entropy", None, "data must be a list"),
    ("ab", "cross_entropy", None, "data must be a list"),
    ([None], "cross_entropy", None, r"data\[0\] must be a Datum, not None"),
    ([datum(), {}], "cross_entropy", None, r"data\[1\] must be a Datum, not {}"),
    ([datum()], None, None, "loss_fn must be text"),
    ([datum()], "", None, "loss_fn must be text"),
    ([datum()], "  ", None, "loss_fn must be text"),
    ([datum()], 3, None, "loss_fn must be text, not 3"),
    ([datum()], "cross_entropy", [], "loss_fn_config must be a dict"),
    ([datum()], "cross_entropy", {1: 2.0}, "loss_fn_config must have keys of text"),
    ([datum()], "cross_entropy", {"beta": math.nan}, r"loss_fn_config\['beta'\] must be a finite number, not nan"),
    ([datum()], "cross_entropy", {"beta": math.inf}, r"loss_fn_config\['beta'\]"),
    ([datum()], "cross_entropy", {"beta": True}, r"loss_fn_config\['beta'\]"),
    ([datum()], "cross_entropy", {"beta": "1"}, r"loss_fn_config\['beta'\]"),
    ([datum()], "cross_entropy", {"beta": 10**400}, r"loss_fn_config\['beta'\]"),
]


@pytest.mark.parametrize(("data", "loss_fn", "config", "why"), BAD)
def test_bad_arguments_are_refused_by_name(data: Any, loss_fn: Any, config: Any, why: str) -> None:
    assert_refused(check_data(data, loss_fn, config), why)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({"weights": None}, r"\['weights'\] is missing; cross_entropy needs target_tokens, weights"),
        ({"target_tokens": None}, r"\['target_tokens'\] is missing"),
        ({"advantages": [1.0, 1.0, 1.0]}, r"\['advantages'\] is not read by cross_entropy"),
        ({"weights": [1.0, 1.0]}, r"\['weights'\] has shape \[2\], but model_input has 3 tokens"),
        ({"weights": []}, r"\['weights'\] has shape \[0\]"),
        ({"weights": np.float32(1.0)}, r"\['weights'\] has shape \[\], but"),
        ({"target_tokens": [1, 2, 3, 4]}, r"\['target_tokens'\] has shape \[4\]"),
        ({"weights": [[1.0], [1.0], [1.0]]}, r"\['weights'\] has shape \[3, 1\], but target_tokens has \[3\]"),
        ({"weights": [1.0, math.nan, 1.0]}, r"\['weights'\] has nan at index 1; it must be finite"),
        ({"weights": [1.0, 1.0, math.inf]}, r"\['weights'\] has inf at index 2"),
        ({"weights": [-math.inf, 1.0, 1.0]}, r"\['weights'\] has -inf at index 0"),
        ({"weights": TensorData([1, 1, 1])}, r"\['weights'\] must be float32, not int64"),
        ({"target_tokens": TensorData([1.0, 1.0, 1.0])}, r"\['target_tokens'\] must be int64, not float32"),
        ({"target_tokens": [1, -1, 2]}, r"\['target_tokens'\] has the negative token -1"),
        ({"target_tokens": [1, 2**31, 2]}, r"\['target_tokens'\] has the token 2147483648, beyond 32 bits"),
    ],
)
def test_a_bad_input_is_named_with_its_datum(inputs: dict[str, Any], why: str) -> None:
    data = [datum(), datum(), datum(), datum(**inputs)]
    assert_refused(check_data(data, "cross_entropy"), r"^data\[3\]\.loss_fn_inputs" + why)


@pytest.mark.parametrize("loss_fn", POLICY_LOSSES)
@pytest.mark.parametrize("missing", ["target_tokens", "logprobs", "advantages"])
def test_a_policy_loss_names_what_is_missing(loss_fn: str, missing: str) -> None:
    assert_refused(
        check_data([policy_datum(**{missing: None})], loss_fn), rf"\['{missing}'\] is missing; {loss_fn} needs"
    )


def test_nan_is_refused_for_unknown_losses_too() -> None:
    strange = Datum(ModelInput.from_ints([1]), {"anything": np.array([np.nan])})
    assert_refused(check_data([strange], "gspo"), r"data\[0\]\.loss_fn_inputs\['anything'\] has nan")


def test_an_input_without_tokens_is_refused() -> None:
    empty = Datum(ModelInput.from_ints([]), {"target_tokens": [], "weights": []})
    assert_refused(check_data([empty], "cross_entropy"), r"data\[0\]\.model_input has no tokens")
    none = Datum(ModelInput([]), {"target_tokens": [], "weights": []})
    assert_refused(check_data([none], "cross_entropy"), r"data\[0\]\.model_input has no tokens")


def test_an_empty_chunk_beside_a_full_one_passes() -> None:
    chunks = [EncodedTextChunk([]), EncodedTextChunk([1, 2, 3])]
    assert check_data([Datum(ModelInput(chunks), datum().loss_fn_inputs)], "cross_entropy") is None


def test_a_bad_token_is_named_with_its_chunk() -> None:
    chunks = [EncodedTextChunk([1]), EncodedTextChunk([2, -3])]
    bad = Datum(ModelInput(chunks), datum().loss_fn_inputs)
    assert_refused(check_data([bad], "cross_entropy"), r"data\[0\]\.model_input\.chunks\[1\]\.tokens has the negative")


def test_the_error_carries_the_place_for_programs() -> None:
    error = check_data([datum(weights=[1.0])], "cross_entropy")
    assert error is not None
    assert error.data == {"field": "data[0].loss_fn_inputs['weights']"}


def test_no_python_code_runs_per_token() -> None:
    def work(count: int) -> int:
        tokens = list(range(count))
        data = [Datum(ModelInput.from_ints(tokens), {"target_tokens": tokens, "weights": [1.0] * count})]
        return lines_run(lambda: check_data(data, "cross_entropy"))

    assert work(10) == work(10_000) > 0


NUMBERS = st.sampled_from([0.0, 1.0, -2.5, math.nan, math.inf, -math.inf])
TOKENS = st.sampled_from([0, 1, 7, 2**31 - 1, 2**31, -1, 2**63 - 1, -(2**63)])


@st.composite
def doubtful(draw: st.DrawFn) -> object:
    """A datum in which one thing or another may be wrong; often nothing is."""
    if draw(st.integers(0, 40)) == 0:
        return draw(st.sampled_from([None, 3, {}]))
    rarely = draw(st.integers(0, 3)) == 0
    length = draw(st.integers(0 if rarely else 1, 4))
    sized = st.integers(0, 4) if rarely else st.just(length)
    good_tokens, good_numbers = st.integers(0, 9), st.sampled_from([0.0, 1.0])
    tokens, numbers = (TOKENS, NUMBERS) if rarely else (good_tokens, good_numbers)

    def some(values: st.SearchStrategy[Any], dtype: Any) -> TensorData:
        size = draw(sized)
        drawn = draw(st.lists(values, min_size=size, max_size=size))
        return TensorData(drawn, dtype, [size, 1] if draw(st.integers(0, 9)) == 9 else [size])

    inputs = {"target_tokens": some(tokens, "int64"), "weights": some(numbers, "float32")}
    if rarely and draw(st.booleans()):
        inputs[draw(st.sampled_from(["weights", "advantages", "target_tokens", "other"]))] = draw(
            st.sampled_from([TensorData([1.0]), TensorData([1]), TensorData([], "float32")])
        )
    if rarely and draw(st.booleans()):
        del inputs[draw(st.sampled_from(sorted(inputs)))]
    ids = draw(st.lists(tokens, min_size=length, max_size=length))
    cut = draw(st.integers(0, length))
    return Datum(ModelInput([EncodedTextChunk(ids[:cut]), EncodedTextChunk(ids[cut:])]), inputs)


@given(st.lists(doubtful(), min_size=1, max_size=5), st.sampled_from(["cross_entropy", "ppo", "gspo"]))
def test_looking_at_all_at_once_says_what_looking_at_each_says(data: list[object], loss_fn: str) -> None:
    said = check_data(data, loss_fn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(singly, "_all_good", Mock(return_value=False))
        alone = check_data(data, loss_fn)
    assert (said and (said.message, said.data)) == (alone and (alone.message, alone.data))


@pytest.mark.parametrize("name", ["tokens", "target_tokens", "weights"])
@pytest.mark.parametrize("place", [0, 1, 37, 98, 99])
def test_one_bad_number_is_found_wherever_it_stands_among_many_blocks(
    name: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 200)
    bad = {
        "tokens": Datum(ModelInput.from_ints([1, 2, -1]), datum().loss_fn_inputs),
        "target_tokens": datum(target_tokens=[1, 2, 2**31]),
        "weights": datum(weights=[1.0, 1.0, math.nan]),
    }[name]
    data = [datum() for _ in range(100)]
    assert check_data(data, "cross_entropy") is None
    data[place] = bad
    error = check_data(data, "cross_entropy")
    assert error is not None
    assert error.message.startswith(f"data[{place}].")


def test_good_data_is_not_looked_at_singly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(singly, "_datum_problem")
    assert check_data([datum()] * 100, "cross_entropy") is None
    with pytest.raises(NameError):
        check_data([datum(weights=[math.nan] * 3)], "cross_entropy")


def assert_refused(error: TinkexError | None, why: str) -> None:
    assert error is not None
    assert (error.kind, error.category) == ("validation", "user")
    assert re.search(why, error.message), error.message
