"""What the environment names and nobody can use keeps a request from being sent, and is said, on either lane."""

import os

import pytest

from support_peers import at
from tinkex.actors._transport._attempt import NotSent

pytestmark = pytest.mark.one_lane


@pytest.mark.parametrize(
    ("proxy", "word"),
    [
        ("socks://user:hunter2@127.0.0.1:1", "scheme"),
        ("http://user:hunter2#@127.0.0.1:1", "no URL"),
        ("http://hunter2@127.0.0.1:port", "no URL"),
    ],
)
async def test_a_proxy_that_nobody_can_use_is_not_sent_and_said_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str, word: str
) -> None:
    monkeypatch.setenv("all_proxy", proxy)
    async with at("http://tinker.example") as http:
        for attempt in (
            await http.post("/a", b"{}", read_seconds=1.0),
            await http.exchange("GET", "/b", None, read_seconds=1.0),
        ):
            assert isinstance(attempt, NotSent)
            assert word in attempt.cause
            assert "hunter2" not in attempt.cause


async def test_certificates_that_are_not_there_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    async with at("https://tinker.example") as http:
        for attempt in (
            await http.post("/a", b"{}", read_seconds=1.0),
            await http.exchange("GET", "/b", None, read_seconds=1.0),
        ):
            assert isinstance(attempt, NotSent)
            assert "SSL_CERT_FILE" in attempt.cause
