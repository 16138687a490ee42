"""A part on its way in the form that its server takes: JSON first, protobuf where JSON is no form of a pass there."""

from collections.abc import Coroutine
from typing import Any, Final

from tinkex.actors._training._heap import expect_large
from tinkex.actors._training._operation import Part, ProtobufForm
from tinkex.actors._transport import (
    PROTOBUF,
    Accepted,
    Departure,
    Done,
    Exists,
    Failed,
    Observe,
    PassForm,
    Refused,
    ResultLost,
    Transport,
    Unknown,
)
from tinkex.protocol import TinkexError

Verdict = Accepted | Refused | Unknown | Exists
Outcome = Done | Failed | ResultLost

_IN_PROTOBUF: Final = {"content-type": PROTOBUF}
_WANTS_PROTOBUF: Final = {"accept": PROTOBUF}


def send_part(
    transport: Transport,
    part: Part,
    seq_id: int,
    *,
    what: str,
    observe: Observe,
    save: bool,
    departure: Departure | None = None,
) -> Coroutine[Any, Any, Verdict]:
    """Write ``part`` under ``seq_id``, here and now, and return what sends it, for the io loop.

    A pass that is refused in JSON, in a way that may mean the format, is sent once more in protobuf under the same
    number: no attempt in JSON ran. Where protobuf is refused too, the first refusal is the answer. What cannot be
    written is refused here: an array that was lent may have changed since the call was checked.
    """
    other = part.protobuf
    in_protobuf = other is not None and transport.profile.form_of_passes == "protobuf"
    try:
        body = other.encode(seq_id) if other is not None and in_protobuf else part.encode(seq_id)
    except TinkexError as error:
        return _refused(error)
    expect_large(len(body))
    if other is None:
        return transport.send(part.path, body, what=what, observe=observe, save=save, departure=departure)
    if in_protobuf:
        return transport.send(other.path, body, what=what, observe=observe, headers=_IN_PROTOBUF, departure=departure)
    return _send_pass(transport, part, other, seq_id, body, what, observe, departure)


async def _refused(error: TinkexError) -> Refused:
    return Refused(error)


async def _send_pass(
    transport: Transport,
    part: Part,
    other: ProtobufForm,
    seq_id: int,
    body: bytes,
    what: str,
    observe: Observe,
    departure: Departure | None,
) -> Verdict:
    profile = transport.profile
    sent = await transport.send(part.path, body, what=what, observe=observe, departure=departure)
    if isinstance(sent, Accepted):
        profile.note_pass("json")
    if not isinstance(sent, Refused):
        return sent
    if not profile.other_form(sent.error, own_route=other.path != part.path):
        return sent
    try:
        body = other.encode(seq_id)
    except TinkexError as error:
        return Refused(error)
    again = await transport.send(other.path, body, what=what, observe=observe, headers=_IN_PROTOBUF)
    if isinstance(again, Accepted):
        profile.note_pass("protobuf")
    return sent if isinstance(again, Refused) else again


def poll_part(transport: Transport, part: Part, *, what: str, observe: Observe) -> Coroutine[Any, Any, Outcome]:
    """Return what asks for the result of ``part``, which was accepted, in the form that its server writes."""
    wants = part.protobuf is not None and transport.profile.form_of_passes == "protobuf"
    headers = _WANTS_PROTOBUF if wants else {}
    return transport.poll(part.request_id or "", what=what, observe=observe, headers=headers)


def read_part(part: Part, body: bytes, form: PassForm) -> Any:
    """Return the typed result of ``part`` from its bytes.

    Raises:
        TinkexError: kind ``protocol``.
    """
    if form == "json":
        return part.decode(body)
    if part.protobuf is None:
        raise TinkexError(
            f"the result of {part.path} came in protobuf, which is no form of it", kind="protocol", category="server"
        )
    return part.protobuf.decode(body)
