"""How text becomes tokens: the built-in model's bytes, or what a folder of a model says."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from tinkex.actors._programs._examples import Example
from tinkex.cli._base._config_sections import TrainOn
from tinkex.cli._data._rows import Chat, Completion, Message, Row, Text
from tinkex.protocol import validation

BUILTIN_TOKENIZER: Final = "tinkex/byte-tiny"
"""What servers call the tokenizer of the embedded engine's built-in model."""

END: Final = 256
"""The built-in model's token that ends a text, and a message."""

ROLE_TOKENS: Final = {"system": 257, "user": 258, "assistant": 259, "tool": 260}
"""Tokens of the built-in model that begin a message: no text can hold them, so no text can pretend to be a message."""


class Piece(NamedTuple):
    """Some tokens of a row."""

    tokens: Sequence[int]
    learned: bool
    """Whether they are the model's to write, rather than to read only."""


class Tokenizer(Protocol):
    """Turns rows into tokens."""

    @property
    def fingerprint(self) -> str:
        """Differs where the tokens of any row may."""
        ...

    def pieces(self, row: Row) -> list[Piece]:
        """Return the tokens of a row, in order.

        Raises:
            TinkexError: kind ``validation``: it has no form for this row.
        """
        ...


class ByteTokenizer:
    """The built-in model's: each byte of UTF-8 is a token, 256 ends a text.

    A prompt and its completion follow each other, then the end. A conversation is, for each message, the token of its
    role (257 system, 258 user, 259 assistant, 260 tool), its bytes, and the end; so a model that is to answer is given
    the conversation and 259, and its answer is over with 256.
    """

    @property
    def fingerprint(self) -> str:
        """One name for all: bytes are bytes. The number is raised if a row's form ever changes."""
        return "bytes-1"

    def encode(self, text: str) -> list[int]:
        """Return the bytes of a text."""
        return list(text.encode())

    def pieces(self, row: Row) -> list[Piece]:
        """Return the tokens of a row, in order."""
        match row:
            case Text(text, ends):
                return [Piece(self.encode(text) + [END] * ends, learned=True)]
            case Completion(prompt, completion):
                read, written = self.encode(prompt), self.encode(completion)
                return [Piece(read, learned=False), Piece([*written, END], learned=True)]
            case Chat(messages):
                return [piece for message in messages for piece in self._message(message)]

    def _message(self, message: Message) -> list[Piece]:
        written = [*self.encode(message.content), END]
        return [Piece([ROLE_TOKENS[message.role]], learned=False), Piece(written, learned=message.role == "assistant")]


def to_example(row: Row, tokenizer: Tokenizer, train_on: TrainOn) -> Example:
    """Return the row as tokens and weights: 1 for what is learned, else 0.

    Raises:
        TinkexError: kind ``validation``: nothing of it would be learned, or the tokenizer has no form for it.
    """
    tokens: list[int] = []
    weights: list[float] = []
    for piece in tokenizer.pieces(row):
        tokens += piece.tokens
        weights += [1.0 if piece.learned or train_on == "all" else 0.0] * len(piece.tokens)
    if not any(weights):
        raise validation(
            "the chat template does not let tell what the assistant wrote; give rows of prompt and completion, "
            "or set data.train_on to 'all'"
        )
    return Example(tokens, weights)
