"""The transport: httpx on the io loop, one retry policy, pure rules for what answers mean."""

from tinkex.actors._transport._answers import (
    PROTOBUF,
    Answer,
    Done,
    Failed,
    Pending,
    Polling,
    ResultLost,
    read_answer,
    read_inline,
)
from tinkex.actors._transport._attempt import Attempt, HttpReply, Lost, NotSent
from tinkex.actors._transport._backoff import full_jitter, retry_after
from tinkex.actors._transport._courtesy import Courtesy, Limits, Observe, share_courtesy
from tinkex.actors._transport._departure import Departure
from tinkex.actors._transport._faults import conflict, own_words
from tinkex.actors._transport._http import Http
from tinkex.actors._transport._profile import PassForm, Route, ServerProfile, profile_of
from tinkex.actors._transport._sending import Accepted, Again, Exists, Refused, Sending, Unknown, Verdict
from tinkex.actors._transport._transport import Transport, future_of

__all__ = [
    "PROTOBUF",
    "Accepted",
    "Again",
    "Answer",
    "Attempt",
    "Courtesy",
    "Departure",
    "Done",
    "Exists",
    "Failed",
    "Http",
    "HttpReply",
    "Limits",
    "Lost",
    "NotSent",
    "Observe",
    "PassForm",
    "Pending",
    "Polling",
    "Refused",
    "ResultLost",
    "Route",
    "Sending",
    "ServerProfile",
    "Transport",
    "Unknown",
    "Verdict",
    "conflict",
    "full_jitter",
    "future_of",
    "own_words",
    "profile_of",
    "read_answer",
    "read_inline",
    "retry_after",
    "share_courtesy",
]
