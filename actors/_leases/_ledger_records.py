"""What a ledger's lines say, and what they add up to. Pure: bytes in, data out, and back.

A ledger is JSON, one record a line, only ever appended to. Reading it forgives what a crash or a newer writer leaves: a
torn line, and kinds of records that are unknown here, are skipped. A change that an older reader must not overlook
raises ``FORMAT``; ledgers of a higher one are left alone.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from tinkex.protocol import LoraConfig

FORMAT: Final = 1


class Header(msgspec.Struct, frozen=True, tag_field="kind", tag="ledger"):
    """The first line: whose ledger this is, and of which server. Never with a key."""

    base_url: str
    pid: int
    started: int | None
    """When the process started, in ticks since the machine did; None where the system does not tell."""

    boot: str | None
    """The machine's boot; None where the system does not tell."""

    host: str
    tinkex: str
    """The version that wrote it."""

    at: float
    """Epoch seconds, here and below."""

    format: int = FORMAT


class SessionIntended(msgspec.Struct, frozen=True, tag_field="kind", tag="session_intended"):
    """A session may be asked for from now on, under this idempotency key."""

    key: str
    tags: list[str]
    user_metadata: dict[str, str]
    at: float


class SessionOpened(msgspec.Struct, frozen=True, tag_field="kind", tag="session_opened"):
    """The server named the session."""

    key: str
    session_id: str


class SessionReleased(msgspec.Struct, frozen=True, tag_field="kind", tag="session_released"):
    """The session is no more, and nothing in it."""

    key: str


class ModelIntended(msgspec.Struct, frozen=True, tag_field="kind", tag="model_intended"):
    """A model may be asked for from now on, as this number of the session."""

    key: str
    model_seq_id: int
    base_model: str
    lora: LoraConfig
    user_metadata: dict[str, str] | None
    at: float


class ModelOpened(msgspec.Struct, frozen=True, tag_field="kind", tag="model_opened"):
    """The server named the model."""

    key: str
    model_seq_id: int
    model_id: str


class ModelReleased(msgspec.Struct, frozen=True, tag_field="kind", tag="model_released"):
    """The model is no more."""

    key: str
    model_seq_id: int


class FoundDead(msgspec.Struct, frozen=True, tag_field="kind", tag="found_dead"):
    """The process of this ledger was gone by then: no heartbeat can be later."""

    at: float


Record = (
    Header | SessionIntended | SessionOpened | SessionReleased | ModelIntended | ModelOpened | ModelReleased | FoundDead
)

_decoder: Final = msgspec.json.Decoder(Record)
_encoder: Final = msgspec.json.Encoder()


class HeldModel(msgspec.Struct):
    """A model that may be on the server."""

    intent: ModelIntended
    model_id: str | None = None


class HeldSession(msgspec.Struct):
    """A session that may be on the server, and what may be in it, by model_seq_id."""

    intent: SessionIntended
    session_id: str | None = None
    models: dict[int, HeldModel] = msgspec.field(default_factory=dict[int, HeldModel])


class Held(msgspec.Struct):
    """What a ledger adds up to: all that may be on the server and is not known to be released."""

    header: Header | None = None
    sessions: dict[str, HeldSession] = msgspec.field(default_factory=dict[str, HeldSession])
    """By idempotency key."""

    found_dead: float | None = None

    def add(self, record: Record) -> None:
        """Take in the next record; what it says of a session that is released, or was never intended, is nothing."""
        match record:
            case Header():
                self.header = self.header or record
            case SessionIntended():
                self.sessions.setdefault(record.key, HeldSession(record))
            case SessionReleased():
                self.sessions.pop(record.key, None)
            case FoundDead():
                self.found_dead = record.at if self.found_dead is None else min(self.found_dead, record.at)
            case _:
                session = self.sessions.get(record.key)
                if session is not None:
                    _add_inside(session, record)

    def records(self) -> Iterator[Record]:
        """Yield records that add up to this again."""
        if self.header is not None:
            yield self.header
        if self.found_dead is not None:
            yield FoundDead(self.found_dead)
        for key, session in self.sessions.items():
            yield session.intent
            if session.session_id is not None:
                yield SessionOpened(key, session.session_id)
            for number, model in session.models.items():
                yield model.intent
                if model.model_id is not None:
                    yield ModelOpened(key, number, model.model_id)


def _add_inside(session: HeldSession, record: SessionOpened | ModelIntended | ModelOpened | ModelReleased) -> None:
    match record:
        case SessionOpened():
            session.session_id = record.session_id
        case ModelIntended():
            session.models.setdefault(record.model_seq_id, HeldModel(record))
        case ModelReleased():
            session.models.pop(record.model_seq_id, None)
        case ModelOpened():
            model = session.models.get(record.model_seq_id)
            if model is not None:
                model.model_id = record.model_id


def encode(records: Iterable[Record]) -> bytes:
    """Return the lines of ``records``.

    Raises:
        UnicodeEncodeError: a text has no place in UTF-8, and so none on the wire.
    """
    return b"".join(_encoder.encode(record) + b"\n" for record in records)


def decode(raw: bytes) -> Iterator[Record]:
    """Yield the records in ``raw``, in order, without the lines that are none."""
    for line in raw.split(b"\n"):
        try:
            yield _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue


def read(raw: bytes) -> Held:
    """Return what the ledger ``raw`` adds up to."""
    held = Held()
    for record in decode(raw):
        held.add(record)
    return held
