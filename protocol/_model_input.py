"""What a model reads: chunks of tokens."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Self, cast

import msgspec
from msgspec.structs import force_setattr

from tinkex.protocol._errors import TinkexError, validation
from tinkex.protocol._tensor import TensorData, TensorInput

CHUNK_TYPE: Final = "encoded_text"


class EncodedTextChunk:
    """Token ids, kept as one int64 buffer.

    Args:
        tokens: ints in a list, tuple, one-dimensional array or tensor.

    Raises:
        TinkexError: kind ``validation``.
    """

    __slots__ = ("_tokens",)

    def __init__(self, tokens: TensorInput) -> None:
        try:
            tensor = TensorData(tokens, "int64")
        except TinkexError as error:
            raise validation(f"tokens: {error.message}") from error
        if len(tensor.shape) != 1:
            raise validation(f"tokens must be one list of ints, not of shape {list(tensor.shape)}")
        self._tokens = tensor

    @property
    def tokens(self) -> TensorData:
        """The token ids: int64, one dimension."""
        return self._tokens

    @property
    def length(self) -> int:
        """The number of tokens."""
        return len(self._tokens)

    def __eq__(self, other: object) -> bool:
        return self._tokens == other._tokens if isinstance(other, EncodedTextChunk) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._tokens)

    def __repr__(self) -> str:
        return f"EncodedTextChunk({self.length} tokens)"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._tokens,)


class ModelInput(msgspec.Struct, frozen=True):
    """The chunks that a model reads, in order. Only text so far.

    Raises:
        TinkexError: kind ``validation``, where ``chunks`` are none.
    """

    chunks: tuple[EncodedTextChunk, ...]

    if TYPE_CHECKING:

        def __init__(self, chunks: Iterable[EncodedTextChunk]) -> None: ...

    def __post_init__(self) -> None:
        chunks: Any = self.chunks
        if not isinstance(chunks, list | tuple):
            raise validation(f"chunks must be a list of EncodedTextChunk, not {type(chunks).__name__}")
        owned = tuple(cast("list[object]", chunks))
        for index, chunk in enumerate(owned):
            if not isinstance(chunk, EncodedTextChunk):
                raise validation(
                    f"chunks[{index}] is {type(chunk).__name__}; only EncodedTextChunk is supported, no images or audio"
                )
        force_setattr(self, "chunks", owned)

    @classmethod
    def from_ints(cls, tokens: Sequence[int] | TensorInput) -> Self:
        """Build an input of one chunk of text from token ids (a list, an array or a tensor).

        Raises:
            TinkexError: kind ``validation``.
        """
        return cls([EncodedTextChunk(tokens)])

    @property
    def length(self) -> int:
        """The number of tokens in all chunks."""
        length = 0
        for chunk in self.chunks:
            length += len(chunk.tokens)
        return length

    def to_ints(self) -> list[int]:
        """Return the token ids of all chunks as one list."""
        return [token for chunk in self.chunks for token in chunk.tokens.tolist()]
