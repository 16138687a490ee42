"""What every answer means, row by row: (what was asked, status, body) to what the client makes of it."""

import asyncio
import json
import random
from typing import Any

import httpx
import pytest

from tinkex.actors._leases._acquire import finish_session, unload
from tinkex.actors._leases._session import Session
from tinkex.actors._runtime._clock import SystemClock
from tinkex.actors._transport import (
    PROTOBUF,
    Accepted,
    Again,
    Done,
    Exists,
    Failed,
    HttpReply,
    Pending,
    Polling,
    Refused,
    ResultLost,
    Sending,
    Transport,
    Unknown,
    Verdict,
    future_of,
    read_answer,
    read_inline,
)
from tinkex.actors._transport._sending import BILLING_LIMIT_SECONDS
from tinkex.protocol import ApiKey, TinkexError

HTML = b"<html>a proxy</html>"
NO = {"detail": "no"}


def reply(status: int, body: Any, **headers: str) -> HttpReply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def said(verdict: Verdict) -> str:
    match verdict:
        case Accepted():
            return "accepted"
        case Again(delay, state):
            return f"again {state}" + (f" in {delay:g}" if delay is not None else "")
        case Refused(error) | Unknown(error) | Exists(error):
            name = type(verdict).__name__.lower()
            return f"{name} {error.kind if error.kind == 'conflict' else error.category}"


def read(answer: Done | Failed | ResultLost | Pending) -> str:
    match answer:
        case Done(_, form):
            return f"done {form}"
        case Failed(error):
            return f"failed {error.category}: {error.message.partition(': ')[2]}"
        case ResultLost(error):
            return f"lost {error.status or error.kind}"
        case Pending(delay, state, reason, _):
            return f"pending {state}" + (f" in {delay:g}" if delay is not None else "") + (f": {reason}" * bool(reason))


SENT: list[tuple[str, int, Any, str]] = [
    ("optim_step", 200, {"request_id": "r"}, "accepted"),
    ("optim_step", 204, b"", "accepted"),
    ("optim_step", 302, NO, "unknown server"),
    ("optim_step", 400, NO, "refused user"),
    ("optim_step", 400, {"message": "no"}, "refused user"),
    ("optim_step", 400, {"error": {"message": "no"}}, "refused user"),
    ("optim_step", 400, {"error": "no", "category": "SERVER"}, "refused server"),
    ("optim_step", 400, HTML, "unknown user"),
    ("optim_step", 400, b"", "unknown user"),
    ("optim_step", 401, NO, "refused user"),
    ("optim_step", 402, NO, "again paused_billing in 5"),
    ("optim_step", 403, NO, "refused user"),
    ("optim_step", 404, NO, "refused user"),
    ("optim_step", 405, {"message": "no"}, "refused user"),
    ("optim_step", 408, NO, "again backing_off"),
    ("optim_step", 408, b"", "again backing_off"),
    ("optim_step", 409, NO, "unknown user"),
    ("optim_step", 410, NO, "refused user"),
    ("optim_step", 413, NO, "refused user"),
    ("optim_step", 415, NO, "refused user"),
    ("optim_step", 422, {"detail": [{"loc": ["body"], "msg": "no"}]}, "refused user"),
    ("optim_step", 425, NO, "again paused_capacity"),
    ("optim_step", 429, b"", "again paused_rate_limit"),
    ("optim_step", 500, NO, "again backing_off"),
    ("optim_step", 501, NO, "refused server"),
    ("optim_step", 501, HTML, "again backing_off"),
    ("optim_step", 503, HTML, "again backing_off"),
    ("save_weights", 409, NO, "refused conflict"),
    ("save_weights", 409, HTML, "unknown user"),
    ("load_weights", 425, {"detail": "still being written"}, "again paused_capacity"),
]


@pytest.mark.parametrize(("what", "status", "body", "meaning"), SENT)
def test_an_answer_to_a_request_is_a_verdict(what: str, status: int, body: Any, meaning: str) -> None:
    sending = Sending(what, 0.0, 300.0, save=what == "save_weights")
    assert said(sending.judge(reply(status, body), 0.0, 0.0)) == meaning


def test_a_400_without_a_word_is_a_proxys_and_leaves_the_outcome_unknown() -> None:
    assert said(Sending("optim_step", 0.0, None).judge(reply(400, b" "), 0.0, 0.0)) == "unknown user"


PENDING = {"type": "try_again", "request_id": "r", "queue_state": "active", "queue_state_reason": None}
POLLED: list[tuple[int, Any, str]] = [
    (200, {"metrics": None, "type": "optim_step"}, "done json"),
    (200, {"metrics": {}}, "done json"),
    (200, {"path": "tinker://r/weights/x", "error": None}, "done json"),
    (200, {"status": "completed", "result": {"path": "p"}}, "done json"),
    (200, {}, "done json"),
    (200, PENDING, "pending running"),
    (200, {**PENDING, "type": "TRY_AGAIN", "queue_state": "PAUSED_CAPACITY"}, "pending paused_capacity"),
    (
        200,
        {**PENDING, "queue_state": "Paused_Rate_Limit", "queue_state_reason": "full", "retry_after_ms": 1500},
        "pending paused_rate_limit in 1.5: full",
    ),
    (200, {**PENDING, "queue_state": "elsewhere"}, "pending running"),
    (200, {"status": "pending"}, "pending running"),
    (200, {"status": "complete_metadata", "response_payload_size": 3}, "pending running"),
    (200, {"error": "boom", "category": "user"}, "failed user: boom"),
    (200, {"error": "boom", "category": "Server"}, "failed server: boom"),
    (200, {"error": "boom"}, "failed unknown: boom"),
    (200, {"error": "boom", "category": "else"}, "failed unknown: boom"),
    (200, {"error": "boom", "message": "a result's own message"}, "failed unknown: boom"),
    (200, {"error": {"message": "boom", "category": "USER"}, "status": "failed"}, "failed user: boom"),
    (200, {"error": {"message": "boom"}, "category": "user", "status": "failed"}, "failed user: boom"),
    (200, {"error": {"detail": "boom"}}, "failed unknown: boom"),
    (200, {"error": {"code": 7}}, 'failed unknown: {"code":7}'),
    (200, {"error": ["boom"]}, 'failed unknown: ["boom"]'),
    (200, {"status": "failed", "error": None, "message": "boom"}, "failed unknown: boom"),
    (200, {"status": "FAILED", "detail": "boom"}, "failed unknown: boom"),
    (200, {"status": "cancelled"}, "failed unknown: no reason given"),
    (200, {"type": "failed", "detail": "boom"}, "failed unknown: boom"),
    (200, b"", "pending backing_off: ..."),
    (200, b"[1]", "pending backing_off: ..."),
    (200, HTML, "pending backing_off: ..."),
    (302, NO, "lost 302"),
    (400, NO, "failed user: no"),
    (400, {"detail": "no", "category": "server"}, "failed server: no"),
    (400, b"", "pending backing_off: ..."),
    (400, HTML, "pending backing_off: ..."),
    (401, NO, "lost 401"),
    (402, NO, "pending paused_billing in 5: no"),
    (403, NO, "lost 403"),
    (404, NO, "lost 404"),
    (408, b"", "pending backing_off"),
    (408, {"queue_state": "PAUSED_CAPACITY", "queue_state_reason": "full"}, "pending paused_capacity: full"),
    (408, {"queue_state": "active"}, "pending backing_off"),
    (409, NO, "failed user: no"),
    (410, NO, "lost 410"),
    (422, NO, "failed user: no"),
    (425, NO, "pending backing_off: no"),
    (429, NO, "pending paused_rate_limit: no"),
    (500, {"detail": "Unknown error"}, "pending backing_off: Unknown error"),
    (503, b"", "pending backing_off"),
]


@pytest.mark.parametrize(("status", "body", "meaning"), POLLED)
def test_an_answer_to_a_poll_is_a_result_or_a_reason_to_ask_again(status: int, body: Any, meaning: str) -> None:
    answer = read(Polling("optim_step").read(reply(status, body), 0.0, 0.0))
    assert answer == meaning or (meaning.endswith("...") and answer.startswith(meaning.removesuffix("...")))


@pytest.mark.parametrize("media", [PROTOBUF, "Application/X-Protobuf; v=1"])
def test_a_result_is_in_the_form_that_its_content_type_says(media: str) -> None:
    assert read(read_answer("forward", reply(200, b"\x0a\x00", content_type=media), 0.0)) == "done protobuf"
    assert read(read_answer("forward", reply(200, NO, content_type=media), 0.0)) == "done protobuf"
    assert read(read_answer("forward", reply(404, NO, content_type=media), 0.0)) == "lost 404"


@pytest.mark.parametrize(
    ("foreign", "end"),
    [(reply(400, b""), "lost 400"), (reply(404, HTML), "lost 404"), (reply(200, b'{"metri'), "lost protocol")],
)
def test_what_is_not_the_servers_word_is_asked_again_three_times_and_one_of_its_words_between_starts_anew(
    foreign: HttpReply, end: str
) -> None:
    polling = Polling("optim_step")
    read_four = [read(polling.read(foreign, 0.0, 0.0)) for _ in range(4)]
    assert [meaning.partition(":")[0] for meaning in read_four] == ["pending backing_off"] * 3 + [end]
    polling = Polling("optim_step")
    answers = [foreign, foreign, reply(408, b""), foreign, foreign, foreign]
    again = {read(polling.read(answer, 0.0, 0.0)).partition(":")[0] for answer in answers}
    assert again == {"pending backing_off"}


def test_a_result_that_is_refused_for_billing_is_given_up_after_an_hour() -> None:
    polling = Polling("optim_step")
    assert read(polling.read(reply(402, NO), 0.0, 0.0)).startswith("pending paused_billing")
    assert read(polling.read(reply(402, NO), BILLING_LIMIT_SECONDS - 1.0, 0.0)).startswith("pending paused_billing")
    assert read(polling.read(reply(402, NO), BILLING_LIMIT_SECONDS, 0.0)) == "lost 402"
    assert read(polling.read(reply(200, PENDING), BILLING_LIMIT_SECONDS, 0.0)) == "pending running"
    assert read(polling.read(reply(402, NO), BILLING_LIMIT_SECONDS, 0.0)).startswith("pending paused_billing")


RECEIPTS: list[tuple[Any, str]] = [
    ({"request_id": "r", "model_id": "m"}, "poll r"),
    ({"request_id": 7}, "TinkexError protocol"),
    ([1], "TinkexError protocol"),
    (b"", "TinkexError protocol"),
    ({"request_id": None, "metrics": {}}, "done json"),
    ({"path": "tinker://r/weights/x"}, "done json"),
    ({"status": "completed", "result": {"metrics": {}}}, "done json"),
    ({"status": "failed", "error": {"message": "boom", "category": "user"}}, "failed user: boom"),
    ({"error": "boom"}, "failed unknown: boom"),
    ({"type": "try_again"}, "lost protocol"),
]


@pytest.mark.parametrize(("body", "meaning"), RECEIPTS)
def test_an_accepted_request_is_polled_for_or_its_answer_is_the_result(body: Any, meaning: str) -> None:
    assert taken(reply(200, body).body) == meaning


def taken(raw: bytes) -> str:
    try:
        request_id = future_of(raw, "optim_step")
    except TinkexError as error:
        return f"TinkexError {error.kind}"
    return f"poll {request_id}" if request_id is not None else read(read_inline("optim_step", raw))


RELEASED: list[tuple[str, int, Any, str, bool | None]] = [
    ("unload", 200, {"model_id": "m", "type": "unload_model"}, "confirmed", True),
    ("unload", 200, {}, "confirmed", True),
    ("unload", 204, b"", "confirmed", True),
    ("unload", 200, {"error": "busy", "category": "server"}, "not confirmed", True),
    ("unload", 410, NO, "confirmed", None),
    ("unload", 404, {"detail": "Not Found"}, "not confirmed", False),
    ("unload", 404, b"404 page not found", "not confirmed", False),
    ("unload", 404, {"message": "no such route"}, "not confirmed", False),
    ("unload", 404, {"detail": "unknown model m"}, "not confirmed", None),
    ("unload", 405, {"detail": "Method Not Allowed"}, "not confirmed", False),
    ("unload", 405, b"", "not confirmed", False),
    ("unload", 501, NO, "not confirmed", False),
    ("unload", 403, NO, "raised", None),
    ("finish", 200, {}, "confirmed", True),
    ("finish", 200, b"OK", "confirmed", True),
    ("finish", 204, b"", "confirmed", True),
    ("finish", 410, NO, "confirmed", None),
    ("finish", 404, {"detail": "Not Found"}, "not confirmed", False),
    ("finish", 404, {"detail": "unknown session s"}, "not confirmed", None),
    ("finish", 405, HTML, "not confirmed", False),
    ("finish", 401, NO, "raised", None),
]


@pytest.mark.parametrize(("what", "status", "body", "meaning", "known"), RELEASED)
def test_a_release_is_confirmed_or_not_and_a_missing_route_is_not_asked_again(
    what: str, status: int, body: Any, meaning: str, known: bool | None
) -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        given = reply(status, body)
        return httpx.Response(given.status, content=given.body)

    async def once(transport: Transport) -> str:
        session = Session([], {}, session_id="s")
        try:
            done = await (unload(transport, "m") if what == "unload" else finish_session(transport, session))
        except TinkexError:
            return "raised"
        return "confirmed" if done else "not confirmed"

    async def both() -> list[str]:
        transport = Transport(
            "http://127.0.0.1:1",
            ApiKey("tml-test"),
            SystemClock(),
            send_timeout=0.0,
            rng=random.Random(0),
            http_transport=httpx.MockTransport(handle),
        )
        meanings = [await once(transport), await once(transport)]
        profile = transport.profile
        assert (profile.unload_model if what == "unload" else profile.finish_session) is known
        await transport.close()
        return meanings

    assert asyncio.run(both()) == [meaning, meaning]
    assert len(asked) == (1 if known is False else 2)
