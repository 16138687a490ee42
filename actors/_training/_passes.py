"""A part on its way in the form that its server takes: JSON first, protobuf where the server is found to speak it."""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from tinkex.actors._training._heap import expect_large
from tinkex.actors._training._operation import Part, ProtobufForm
from tinkex.actors._training._packing import Packed, pack
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
Post = Callable[[], Coroutine[Any, Any, Verdict]]
Told = Callable[[Accepted, str], object]
Failing = Callable[[], object]

_IN_PROTOBUF: Final[Mapping[str, str]] = {"content-type": PROTOBUF}
_AS_IT_IS: Final[Mapping[str, str]] = {}
_WANTS_PROTOBUF: Final[Mapping[str, str]] = {"accept": PROTOBUF}
_TAKES_BOTH: Final[Mapping[str, str]] = {"accept": f"{PROTOBUF}, application/json"}


class _Form(msgspec.Struct, frozen=True):
    """One of the ways to write a pass."""

    name: PassForm
    path: str
    encode: Callable[[int], bytes]
    headers: Mapping[str, str]


def send_part(
    transport: Transport,
    part: Part,
    seq_id: int,
    *,
    what: str,
    observe: Observe,
    save: bool,
    departure: Departure | None = None,
) -> Post:
    """Write ``part`` under ``seq_id``, here and now, and return what sends it, for the io loop.

    A pass that is refused in one form, in a way that may mean the form, is sent once more in the other under the same
    number: no attempt ran. Where the other is refused too, the first refusal is the answer.

    Raises:
        TinkexError: ``part`` has no such form; nothing was sent, and its number is free.
    """
    if part.protobuf is None:
        body = part.encode(seq_id)
        return partial(transport.send, part.path, body, what=what, observe=observe, save=save, departure=departure)
    first, other = _Form("json", part.path, part.encode, _AS_IT_IS), _protobuf_form(part.protobuf)
    if transport.profile.form_of_pass(pays=part.protobuf.pays) == "protobuf":
        first, other = other, first
    body = first.encode(seq_id)
    expect_large(len(body))
    return partial(_send_pass, transport, first, body, other, seq_id, what, observe, departure)


def _protobuf_form(form: ProtobufForm) -> _Form:
    return _Form("protobuf", form.path, form.encode, _IN_PROTOBUF)


async def send_and_tell(send: Post, accepted: Told, *, what: str) -> Verdict:
    """Send, and tell ``accepted`` on the io loop of an acceptance whose result is to be asked for."""
    sent = await send()
    if isinstance(sent, Accepted) and (request_id := _receipt(sent, what)) is not None:
        accepted(sent, request_id)
    return sent


async def send_and_ask(
    transport: Transport, part: Part, send: Post, accepted: Told, failed: Failing, *, what: str, observe: Observe
) -> Verdict | Outcome:
    """Send ``part`` and, where it is accepted, ask for its result at once.

    In between, on the io loop, ``accepted`` is told; what is returned is then the result's fate, and that of the
    request otherwise, also where its result came with the answer or the answer cannot be read. See ``poll_part``.
    """
    sent = await send()
    if not isinstance(sent, Accepted) or (request_id := _receipt(sent, what)) is None:
        return sent
    observe("running", None)
    accepted(sent, request_id)
    return await poll_part(transport, part, request_id, failed, what=what, observe=observe)


def _receipt(sent: Accepted, what: str) -> str | None:
    try:
        return future_of(sent.body, what)
    except TinkexError:
        return None


async def _send_pass(
    transport: Transport,
    first: _Form,
    body: bytes,
    other: _Form,
    seq_id: int,
    what: str,
    observe: Observe,
    departure: Departure | None,
) -> Verdict:
    profile = transport.profile
    send = partial(_send_form, transport, what=what, observe=observe)
    sent = await send(first, body, departure=departure)
    if isinstance(sent, Accepted):
        profile.note_pass(first.name)
    if not isinstance(sent, Refused):
        return sent
    if not profile.other_form(first.name, sent.error, own_route=other.path != first.path):
        return sent
    try:
        body = other.encode(seq_id)
    except TinkexError as error:
        return Refused(error)
    again = await send(other, body)
    if isinstance(again, Accepted):
        profile.note_pass(other.name, in_place_of=first.name)
    return sent if isinstance(again, Refused) else again


async def _send_form(
    transport: Transport,
    form: _Form,
    body: bytes,
    *,
    what: str,
    observe: Observe,
    departure: Departure | None = None,
) -> Verdict:
    packed = await pack(transport, body) if form.name == "protobuf" else Packed(body, _AS_IT_IS)
    headers = {**form.headers, **packed.headers}
    return await transport.send(
        form.path, packed.body, what=what, observe=observe, headers=headers, departure=departure
    )


async def poll_part(
    transport: Transport, part: Part, request_id: str, failed: Failing, *, what: str, observe: Observe
) -> Outcome:
    """Ask for the result of ``part``, which was accepted as ``request_id``, in the forms that its server may write.

    ``failed`` is told at once, on the io loop, where it is no result. A server that answers in protobuf, where JSON
    would do, is sent the next large pass in it.
    """
    outcome = await transport.poll(request_id, what=what, observe=observe, headers=_wanted(transport, part))
    if not isinstance(outcome, Done):
        failed()
    elif outcome.form == "protobuf":
        transport.profile.note_result_in_protobuf()
    return outcome


def _wanted(transport: Transport, part: Part) -> Mapping[str, str]:
    if part.protobuf is None:
        return _AS_IT_IS
    if transport.profile.takes_json is False:
        return _WANTS_PROTOBUF
    return _TAKES_BOTH if part.protobuf.pays else _AS_IT_IS


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
