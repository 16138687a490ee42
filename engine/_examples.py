"""Data of requests to tensors and back."""

import torch
from torch import Tensor

from tinkex.engine._adapter import Example
from tinkex.protocol import Datum, TensorData

_DTYPES = {"float32": torch.float32, "int64": torch.int64}


def to_tensor(data: TensorData) -> Tensor:
    """Copy a tensor of the wire, which must not be empty."""
    return torch.frombuffer(bytearray(data.buffer), dtype=_DTYPES[data.dtype]).view(data.shape)


def to_example(datum: Datum) -> Example:
    """Turn a checked datum into tensors."""
    chunks = [to_tensor(chunk.tokens) for chunk in datum.model_input.chunks if chunk.length]
    inputs = {name: to_tensor(data) for name, data in datum.loss_fn_inputs.items()}
    return Example(torch.cat(chunks), inputs.pop("target_tokens"), inputs)


def to_wire(values: Tensor) -> TensorData:
    """Copy a float32 tensor to the wire's form."""
    return TensorData.from_buffer(values.contiguous().numpy().tobytes(), "float32", values.shape)
