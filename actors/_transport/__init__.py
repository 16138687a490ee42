"""The transport: httpx on the io loop, one retry policy, pure rules for what answers mean."""

from tinkex.actors._transport._answers import Answer, Done, Failed, Pending, ResultLost, read_answer
from tinkex.actors._transport._backoff import full_jitter, retry_after
from tinkex.actors._transport._courtesy import Courtesy, Limits, Observe, share_courtesy
from tinkex.actors._transport._departure import Departure
from tinkex.actors._transport._faults import conflict, own_words
from tinkex.actors._transport._http import Attempt, Http, HttpReply, Lost, NotSent
from tinkex.actors._transport._sending import Accepted, Again, Exists, Refused, Sending, Unknown, Verdict
from tinkex.actors._transport._transport import Transport, future_of

__all__ = [
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
    "Pending",
    "Refused",
    "ResultLost",
    "Sending",
    "Transport",
    "Unknown",
    "Verdict",
    "conflict",
    "full_jitter",
    "future_of",
    "own_words",
    "read_answer",
    "retry_after",
    "share_courtesy",
]
