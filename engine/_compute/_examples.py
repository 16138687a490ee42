"""Data of requests to tensors and back."""

import torch
from torch import Tensor

from tinkex.engine._compute._adapter import Example
from tinkex.protocol import Datum, ModelInput, TensorData

_DTYPES = {"float32": torch.float32, "int64": torch.int64}


def to_tensor(data: TensorData) -> Tensor:
    """Copy a tensor of the wire, which must not be empty."""
    return torch.frombuffer(bytearray(data.buffer), dtype=_DTYPES[data.dtype]).view(data.shape)


def to_tokens(prompt: ModelInput) -> Tensor:
    """Copy the tokens of a checked prompt, which must not be empty."""
    return torch.cat([to_tensor(chunk.tokens) for chunk in prompt.chunks if chunk.length])


def to_example(datum: Datum, device: str) -> Example:
    """Turn a checked datum into tensors."""
    inputs = {name: to_tensor(data).to(device) for name, data in datum.loss_fn_inputs.items()}
    return Example(to_tokens(datum.model_input).to(device), inputs.pop("target_tokens"), inputs)


def to_wire(values: Tensor) -> TensorData:
    """Copy a float32 tensor to the wire's form."""
    return TensorData.from_buffer(values.cpu().contiguous().numpy().tobytes(), "float32", values.shape)
