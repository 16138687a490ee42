"""A credential that never prints."""

from typing import Any, Final, NoReturn, Self

from tinkex.protocol._errors import validation

_PREFIXES: Final = ("tml-", "eyJ")


class ApiKey:
    """An API key (``tml-...``) or JWT (``eyJ...``) that shows itself as ``ApiKey(***)`` everywhere.

    Only ``reveal()`` gives the text, for the header of a request. It cannot be pickled, nor encoded by msgspec.

    Raises:
        TinkexError: kind ``validation``, where the text cannot be a key. The error does not contain the text.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - the value comes from users
            raise validation(f"an API key is text, not {type(text).__name__}")
        if not text.isascii() or not text.isprintable() or " " in text:
            raise validation("an API key has no spaces, line ends or characters beyond ASCII; copy it again")
        if not text.startswith(_PREFIXES) or text in _PREFIXES:
            raise validation('an API key begins with "tml-" (or with "eyJ" where it is a JWT); check TINKER_API_KEY')
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        """Return the text of the key."""
        text: str = object.__getattribute__(self, "_text")
        return text

    def __repr__(self) -> str:
        return "ApiKey(***)"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ApiKey):
            return NotImplemented
        import hmac  # noqa: PLC0415 - slow to import, and most programs have one key

        return hmac.compare_digest(self.reveal(), other.reveal())

    def __hash__(self) -> int:
        return hash((ApiKey, self.reveal()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("an ApiKey cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("an ApiKey cannot be changed")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("an ApiKey is not pickled: it would be written down")

    def __getstate__(self) -> NoReturn:
        raise TypeError("an ApiKey is not pickled: it would be written down")
