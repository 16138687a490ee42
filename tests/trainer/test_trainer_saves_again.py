"""Saves that fail, or that the server's list lags behind, cost time and no run."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from support_clients import Faults
from support_trainer import Gate, Program, config, finish, sequence, trainer, until
from tinkex.actors._trainer import _saves
from tinkex.protocol import Err, messages


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_saves, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(_saves, "LISTING_SECONDS", 0.01)


class Hiding(Faults):
    """A server whose list lacks checkpoints whose path ends as ``hides`` says."""

    def __init__(self, *hides: str) -> None:
        super().__init__()
        self.hides = hides
        self.looks = 0
        self.most_looks = 10**9

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if not request.url.path.endswith("/checkpoints"):
            return response
        self.looks += 1
        if self.looks > self.most_looks:
            return response
        response = httpx.Response(200, content=await response.aread())
        listed: dict[str, Any] = response.json()
        kept = [item for item in listed["checkpoints"] if not item["tinker_path"].endswith(self.hides)]
        return httpx.Response(200, json={**listed, "checkpoints": kept})


def test_a_save_that_is_never_listed_does_not_keep_the_next_one_from_its_commit(url: str, tmp_path: Path) -> None:
    ended = finish(config(tmp_path, url, Program(4)), Hiding("-u000000003"))
    assert (ended.state, ended.update, ended.durable_update) == ("finished", 4, 4)


def test_the_last_save_is_sent_again_under_another_name_where_the_first_is_never_listed(
    url: str, tmp_path: Path
) -> None:
    hiding = Hiding("-u000000004")
    ended = finish(config(tmp_path, url, Program(4)), hiding)
    assert (ended.state, ended.durable_update) == ("finished", 4)
    assert [body["path"] for body in hiding.sent("/save_weights")] == [
        "e00001-u000000003",
        "e00001-u000000004",
        "e00001-u000000004-2",
    ]
    assert finish(config(tmp_path, url, Program(7))).update == 7
    whole = tmp_path / "whole"
    whole.mkdir()
    finish(config(whole, url, Program(7)))
    assert sequence(tmp_path) == sequence(whole)


def test_a_list_that_lags_behind_is_waited_for(url: str, tmp_path: Path) -> None:
    hiding = Hiding("")
    hiding.most_looks = 3
    assert finish(config(tmp_path, url, Program(3)), hiding).durable_update == 3
    assert len(hiding.sent("/save_weights")) == 1


def test_a_pause_is_answered_also_while_the_server_takes_no_save(url: str, tmp_path: Path) -> None:
    gate = Gate(4)
    hiding = Hiding("")
    with trainer(config(tmp_path, url, Program(5, gate=gate)), hiding) as ref:
        assert gate.reached.wait(30.0)
        until(ref, lambda run: run.reason is not None and "saves in a row failed" in run.reason)
        assert ref.ask(messages.Pause(), block=False).get(timeout=20.0).unwrap().state == "paused"
        asked = ref.ask(messages.CheckpointNow(await_timeout=20.0))
        assert isinstance(asked, Err)
        hiding.most_looks = 0
        ref.ask(messages.Resume()).unwrap()
        gate.open.set()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().durable_update == 5
