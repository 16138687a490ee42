"""Values that many protocol tests need."""

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from hypothesis import strategies as st

from tinkex.protocol import Datum, ModelInput, TensorData

names = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}", fullmatch=True)
float32s = st.floats(width=32)
int64s = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def float_tensors(max_size: int = 30) -> st.SearchStrategy[TensorData]:
    return st.lists(float32s, max_size=max_size).map(lambda values: TensorData(values, "float32"))


def int_tensors(max_size: int = 30) -> st.SearchStrategy[TensorData]:
    return st.lists(int64s, max_size=max_size).map(lambda values: TensorData(values, "int64"))


@st.composite
def datums(draw: st.DrawFn) -> Datum:
    tokens = draw(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20))
    keys = draw(st.lists(texts, unique=True, max_size=3))
    tensors = st.one_of(float_tensors(), int_tensors())
    return Datum(ModelInput.from_ints(tokens), {key: draw(tensors) for key in keys})


def datum(**inputs: Any) -> Datum:
    """A good example for ``cross_entropy``; ``inputs`` replace or, where None, take away loss inputs."""
    given: dict[str, Any] = {"target_tokens": [2, 3, 4], "weights": [0.0, 1.0, 1.0], **inputs}
    return Datum(ModelInput.from_ints([1, 2, 3]), {key: value for key, value in given.items() if value is not None})


def policy_datum(**inputs: Any) -> Datum:
    """A good example for the policy losses."""
    return datum(**{"weights": None, "logprobs": [-1.0, -2.0, -3.0], "advantages": [1.0, 0.5, -1.0], **inputs})


def lines_run(function: Callable[[], object]) -> int:
    """How many lines of Python code ``function`` runs, each pass of a loop counted."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    gc.disable()  # its callbacks are Python code, too
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
        gc.enable()
    return count
