"""A part on its way in the form that its server takes: JSON first, protobuf where JSON is no form of a pass there."""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

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
    future_of,
)
from tinkex.protocol import TinkexError

Verdict = Accepted | Refused | Unknown | Exists
Outcome = Done | Failed | ResultLost
Send = Callable[[], Coroutine[Any, Any, Verdict]]
Told = Callable[[Accepted, str], object]

_IN_PROTOBUF: Final = {"content-type": PROTOBUF}
_AS_IT_IS: Final[Mapping[str, str]] = {}
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
) -> Send:
    """Write ``part`` under ``seq_id``, here and now, and return what sends it, for the io loop.

    A pass that is refused in JSON, in a way that may mean the format, is sent once more in protobuf under the same
    number: no attempt in JSON ran. Where protobuf is refused too, the first refusal is the answer.
    """
    if part.protobuf is not None and transport.profile.form_of_passes == "protobuf":
        body = part.protobuf.encode(seq_id)
        return partial(
            transport.send,
            part.protobuf.path,
            body,
            what=what,
            observe=observe,
            headers=_IN_PROTOBUF,
            departure=departure,
        )
    body = part.encode(seq_id)
    if part.protobuf is not None:
        return partial(_send_pass, transport, part, part.protobuf, seq_id, body, what, observe, departure)
    return partial(transport.send, part.path, body, what=what, observe=observe, save=save, departure=departure)


async def send_and_ask(
    transport: Transport, part: Part, send: Send, accepted: Told, *, what: str, observe: Observe
) -> Verdict | Outcome:
    """Send ``part`` and, where it is accepted, ask for its result at once.

    In between, on the io loop, ``accepted`` is told; what is returned is then the result's fate, and that of the
    request otherwise, also where its result came with the answer or the answer cannot be read.
    """
    sent = await send()
    if not isinstance(sent, Accepted):
        return sent
    try:
        request_id = future_of(sent.body, what)
    except TinkexError:
        return sent
    if request_id is None:
        return sent
    observe("running", None)
    accepted(sent, request_id)
    return await transport.poll(request_id, what=what, observe=observe, headers=_wanted(transport, part))


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
    return transport.poll(part.request_id or "", what=what, observe=observe, headers=_wanted(transport, part))


def _wanted(transport: Transport, part: Part) -> Mapping[str, str]:
    wants = part.protobuf is not None and transport.profile.form_of_passes == "protobuf"
    return _WANTS_PROTOBUF if wants else _AS_IT_IS


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
