import copy
import math
import pickle
from array import array
from enum import IntEnum
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from support_protocol import float32s, int64s, lines_run
from tinkex.protocol import TensorData, TinkexError
from tinkex.protocol import _numbers as numbers


class Color(IntEnum):
    RED = 1


@given(st.lists(int64s))
def test_ints_go_in_and_come_out(values: list[int]) -> None:
    tensor = TensorData(values, "int64")
    assert tensor.tolist() == values
    assert (tensor.shape, len(tensor), tensor.dtype) == ((len(values),), len(values), "int64")
    assert bytes(tensor.buffer) == array("q", values).tobytes()


@given(st.lists(float32s))
def test_floats_of_32_bits_go_in_and_come_out_bit_by_bit(values: list[float]) -> None:
    tensor = TensorData(values, "float32")
    out = tensor.tolist()
    assert np.array_equal(np.array(out), np.array(values), equal_nan=True)
    assert [math.copysign(1, x) for x in out if not math.isnan(x)] == [
        math.copysign(1, x) for x in values if not math.isnan(x)
    ]


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.int64]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    )
)
def test_arrays_go_in_and_come_out_shaped(source: Any) -> None:
    tensor = TensorData(source)
    out = tensor.to_numpy()
    assert out.tobytes() == np.ascontiguousarray(source).tobytes()
    assert (out.shape, out.dtype) == (source.shape, source.dtype)
    assert TensorData(tensor.tolist(), tensor.dtype, source.shape) == tensor or np.isnan(out.astype(float)).any()
    assert pickle.loads(pickle.dumps(tensor)) == tensor


@given(hnp.arrays(np.int64, hnp.array_shapes(max_dims=4, max_side=3)))
def test_nested_lists_have_the_shape_of_their_array(source: Any) -> None:
    assert TensorData(source.tolist()) == TensorData(source)


ODD: list[Any] = [
    *[0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64, 10**400, 1.5, -0.0, 1e39, -1e39, 3.4028235677973366e38],
    *[2.0**128, 1e-46, math.nan, math.inf, -math.inf, True, None, "1", Color.RED, [1], [], (1, 2)],
    *[np.int64(3), np.float64(2.5), np.float32(1.5), np.bool_(True)],
]


@given(
    st.one_of(
        st.lists(st.sampled_from(ODD), max_size=4),
        st.lists(st.sampled_from(ODD[:16]), max_size=4).map(tuple),
        st.lists(st.floats(), max_size=4),
        st.lists(st.integers(-(2**65), 2**65), max_size=4),
    ),
    st.sampled_from([None, "float32", "int64"]),
)
def test_lists_are_read_quickly_as_they_are_read_number_by_number(values: Any, dtype: Any) -> None:
    def outcome() -> Any:
        try:
            tensor = TensorData(values, dtype)
        except TinkexError as error:
            return error.message
        return bytes(tensor.buffer), tensor.dtype, tensor.shape

    quick = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbers, "_read_flat", Mock(return_value=None))
        assert outcome() == quick


def test_types_are_guessed_as_the_field_does() -> None:
    assert TensorData([1, 2]).dtype == "int64"
    assert TensorData([1, 2.0]).dtype == "float32"
    assert TensorData([]).dtype == "float32"
    assert TensorData(np.array([1], dtype=np.uint8)).dtype == "int64"
    assert TensorData(np.array([1], dtype=np.float16)).dtype == "float32"
    assert TensorData(np.array([1.0])).dtype == "float32"


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4", ">i8"])
def test_every_type_of_int_becomes_int64(kind: str) -> None:
    assert TensorData(np.array([1, 2], dtype=kind)).tolist() == [1, 2]


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4", ">f8"])
def test_every_type_of_float_becomes_float32(kind: str) -> None:
    assert TensorData(np.array([1.5, -2.0, np.nan], dtype=kind)).tolist()[:2] == [1.5, -2.0]


def test_ints_may_be_asked_for_as_floats() -> None:
    assert TensorData([1, 2], "float32").tolist() == [1.0, 2.0]
    assert TensorData(np.array([1, 2]), "float32").dtype == "float32"
    assert TensorData(TensorData([1, 2]), "float32").tolist() == [1.0, 2.0]


def test_a_tensor_of_a_tensor_shares_its_buffer() -> None:
    inner = TensorData([[1, 2], [3, 4]])
    assert TensorData(inner).buffer is inner.buffer
    assert TensorData(inner, shape=[4]).shape == (4,)


def test_scalars_of_numpy_and_subclasses_of_numbers_are_numbers() -> None:
    assert TensorData([np.int64(1), np.uint8(2), 3, Color.RED]).tolist() == [1, 2, 3, 1]
    assert TensorData([np.float32(1.5), np.float64(2.5), 1]).tolist() == [1.5, 2.5, 1.0]


def test_buffers_of_the_standard_library_are_arrays() -> None:
    assert TensorData(array("i", [1, 2])).tolist() == [1, 2]
    assert TensorData(memoryview(array("f", [1.5]))).tolist() == [1.5]


BAD: list[tuple[Any, Any, str]] = [
    ([[1, 2], [3]], None, "ragged: their lengths are from 1 to 2"),
    ([1, [2]], None, "ragged: numbers stand beside lists"),
    ([[[1]], [[1, 2]]], None, "ragged"),
    ([[], [1]], None, "ragged"),
    ([True, False], None, "numbers, not bool"),
    ([1, True], None, "numbers, not bool"),
    ([None], None, "numbers, not NoneType"),
    (["1"], None, "numbers, not str"),
    ([1j], None, "numbers, not complex"),
    ([object()], None, "numbers, not object"),
    ([np.array([1])], None, "numbers, not ndarray"),
    ([np.bool_(True)], None, "numbers, not bool"),
    ([{}], None, "numbers, not dict"),
    ([1.5], "int64", "whole numbers"),
    ([1.0], "int64", "whole numbers"),
    ([2**63], "int64", "too large for int64"),
    ([1e39], "float32", "too large for float32"),
    ([math.inf, 1e39], "float32", "too large for float32"),
    ([10**400], "float32", "too large for float32"),
    ([1], "float16", "dtype must be one of"),
    ([1], "", "dtype must be one of"),
    (np.array([True]), None, "array of bool"),
    (np.array([1j]), None, "array of complex128"),
    (np.array(["a"]), None, "array of <U1"),
    (np.array([1, None]), None, "array of object"),
    (np.array(["2026-01-01"], dtype="M8[D]"), None, "array of datetime"),
    (np.array([1.0]), "int64", "cannot be a tensor of int64"),
    (np.array([2**63], dtype=np.uint64), None, "too large for int64"),
    (np.array([1e39]), None, "too large for float32"),
    (np.ma.masked_array([1.0, 2.0], [True, False]), None, "masked"),
    (3, None, "not int"),
    (None, None, "not NoneType"),
    ("12", None, "not str"),
    (b"12", None, "not bytes"),
    (bytearray(b"12"), None, "not bytearray"),
    ({"data": [1]}, None, "not dict"),
    (iter([1]), None, "not list_iterator"),
    ({1, 2}, None, "not set"),
]


@pytest.mark.parametrize(("data", "dtype", "why"), BAD)
def test_what_is_no_tensor_is_refused_with_the_reason(data: Any, dtype: Any, why: str) -> None:
    with pytest.raises(TinkexError, match=why) as caught:
        TensorData(data, dtype)
    assert (caught.value.kind, caught.value.category) == ("validation", "user")


def test_lists_nested_without_end_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TinkexError, match="nested more than 32 deep"):
        TensorData(endless)


@pytest.mark.parametrize("shape", [[3], [2, 2, 2], [], [-1, -4], [4.0], [True, 4], "4", 4, [None], {4}])
def test_a_shape_that_does_not_fit_is_refused(shape: Any) -> None:
    with pytest.raises(TinkexError, match="shape"):
        TensorData([1, 2, 3, 4], shape=shape)
    with pytest.raises(TinkexError, match="shape"):
        TensorData(np.arange(4), shape=shape)


def test_a_shape_gives_lists_their_dimensions() -> None:
    tensor = TensorData([1, 2, 3, 4], shape=[2, 2])
    assert tensor.to_numpy().tolist() == [[1, 2], [3, 4]]
    assert TensorData([5], shape=()).to_numpy().item() == 5
    assert TensorData([], "int64", [0, 7]).to_numpy().shape == (0, 7)


def test_a_writeable_array_is_copied() -> None:
    source = np.array([1.0, 2.0], dtype=np.float32)
    tensor = TensorData(source)
    source[0] = 9.0
    assert tensor.tolist() == [1.0, 2.0]


def test_a_read_only_array_is_taken_as_it_is() -> None:
    source = np.arange(12, dtype=np.int64).reshape(3, 4)
    source.flags.writeable = False
    tensor = TensorData(source)
    assert np.shares_memory(tensor.to_numpy(), source)


@pytest.mark.parametrize("way", ["transposed", "every other", "backwards"])
def test_a_read_only_array_that_is_not_contiguous_is_copied_in_c_order(way: str) -> None:
    source = np.arange(12, dtype=np.float32).reshape(3, 4)
    source.flags.writeable = False
    view = {"transposed": source.T, "every other": source[:, ::2], "backwards": source[::-1]}[way]
    tensor = TensorData(view)
    assert not np.shares_memory(tensor.to_numpy(), source)
    assert np.array_equal(tensor.to_numpy(), view)


def test_nothing_handed_out_can_be_written_to() -> None:
    tensor = TensorData([1.0, 2.0])
    assert tensor.buffer.readonly
    assert tensor.buffer.format == "B"
    with pytest.raises(ValueError, match="read-only"):
        tensor.to_numpy()[0] = 3.0
    with pytest.raises(TypeError):
        tensor.buffer[0] = 1


def test_to_numpy_copies_nothing() -> None:
    tensor = TensorData([1.0, 2.0])
    assert np.shares_memory(tensor.to_numpy(), tensor.to_numpy())


def test_equal_means_same_type_shape_and_bytes() -> None:
    tensor = TensorData([math.nan, 1.0])
    assert tensor == TensorData([math.nan, 1.0])
    assert hash(tensor) == hash(TensorData([math.nan, 1.0]))
    assert tensor != TensorData([1.0, math.nan])
    assert TensorData([0], "int64") != TensorData([0], "float32")
    assert TensorData([[1, 2]]) != TensorData([1, 2])
    assert tensor != [math.nan, 1.0]
    assert copy.copy(tensor) is tensor
    assert copy.deepcopy(tensor) is tensor


def test_repr_shows_no_values() -> None:
    assert repr(TensorData([[1, 2]])) == "TensorData(int64, shape=(1, 2))"


def test_from_buffer_wraps_without_a_copy() -> None:
    raw = array("f", [1.5, 2.5]).tobytes()
    tensor = TensorData.from_buffer(raw, "float32")
    assert tensor.tolist() == [1.5, 2.5]
    assert tensor.buffer.obj is raw
    assert TensorData.from_buffer(raw, "float32", [2, 1]).shape == (2, 1)
    assert TensorData.from_buffer(b"", "int64").shape == (0,)
    assert TensorData.from_buffer(memoryview(bytearray(raw)), "float32").buffer.readonly
    with pytest.raises(TinkexError, match="no whole number of int64"):
        TensorData.from_buffer(raw[:4], "int64")
    with pytest.raises(TinkexError, match="asks for 3 values"):
        TensorData.from_buffer(raw, "float32", [3])


def test_split_shares_the_bytes_and_gives_each_part_its_shape() -> None:
    raw = array("f", range(12)).tobytes()
    parts = TensorData.split(raw, "float32", [16, 0, 32], (2,))
    assert [part.shape for part in parts] == [(2, 2), (0, 2), (4, 2)]
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3], [], [4, 5, 6, 7, 8, 9, 10, 11]]
    assert all(part.buffer.obj is raw and part.buffer.readonly for part in parts)
    assert parts == [
        TensorData([[0.0, 1.0], [2.0, 3.0]]),
        TensorData([], "float32", [0, 2]),
        TensorData([4.0 + n for n in range(8)], shape=[4, 2]),
    ]
    assert TensorData.split(b"", "int64", []) == []


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64", "int32", "int64", "uint8"])
def test_torch_tensors_are_taken(kind: str) -> None:
    torch = pytest.importorskip("torch")
    tensor = TensorData(torch.tensor([[1, 2], [3, 4]], dtype=getattr(torch, kind)))
    assert tensor.to_numpy().tolist() == [[1, 2], [3, 4]]
    assert tensor.dtype == ("float32" if "float" in kind else "int64")


def test_torch_tensors_with_gradients_strides_and_subclasses_are_taken() -> None:
    torch = pytest.importorskip("torch")
    leaf = torch.nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert TensorData(leaf.T * 2).tolist() == [2.0, 6.0, 4.0, 8.0]
    assert TensorData(leaf).tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_torch_tensor_is_copied() -> None:
    torch = pytest.importorskip("torch")
    source = torch.tensor([1.0, 2.0])
    tensor = TensorData(source)
    source[0] = 9.0
    assert tensor.tolist() == [1.0, 2.0]


def test_torch_tensors_that_are_no_numbers_or_not_dense_are_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TinkexError, match="array of bool"):
        TensorData(torch.tensor([True]))
    with pytest.raises(TinkexError, match="array of complex64"):
        TensorData(torch.tensor([1j]))
    with pytest.raises(TinkexError, match=r"to_dense\(\)"):
        TensorData(torch.eye(2).to_sparse())


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_no_python_code_runs_per_number(dtype: Any) -> None:
    """Lists, arrays and the way back take as many lines for 10,000 numbers as for 10."""

    def work(count: int) -> int:
        values = [float(n) if dtype == "float32" else n for n in range(count)]
        source = np.array(values)
        return lines_run(lambda: [TensorData(values).tolist(), TensorData([values]), TensorData(source).tolist()])

    assert work(10) == work(10_000) > 0
