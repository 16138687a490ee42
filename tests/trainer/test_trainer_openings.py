"""What is wrong with the server or the settings when an epoch opens: it waits, goes round it, or fails and says why."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from support_clients import Faults
from support_trainer import Gate, Program, config, finish, trainer, until
from tinkex.actors import ServiceClient
from tinkex.actors._trainer import _opening
from tinkex.protocol import Err, LoraConfig, TinkexError, messages


def test_a_service_that_ends_while_an_epoch_opens_is_replaced(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services: list[Any] = []

    class Recorded:
        @staticmethod
        def start(**options: Any) -> Any:
            services.append(ServiceClient.start(**options))
            return services[-1]

    monkeypatch.setattr(_opening, "ServiceClient", Recorded)
    faults = Faults(
        lambda request, count: "hold" if request.url.path.endswith("/create_model") and count == 1 else None
    )
    with trainer(config(tmp_path, url), faults) as ref:
        assert faults.held.wait(30.0)
        services[0].kill()
        assert ref.ask(messages.WaitUntilDone(await_timeout=30.0)).unwrap().state == "finished"


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ({"bas_url": "x"}, "bas_url"),
        ({"base_url": "http://somewhere.example", "api_key": "tml-x"}, "http"),
        ({"base_url": "http://127.0.0.1:1", "max_in_flight": 0}, "max_in_flight"),
    ],
)
def test_a_service_that_cannot_be_made_fails_the_run_by_name(
    tmp_path: Path, service: dict[str, Any], words: str
) -> None:
    with trainer(config(tmp_path, "", service=service)) as ref:
        ended = ref.ask(messages.WaitUntilDone(await_timeout=30.0))
        assert isinstance(ended, Err)
        assert (ended.error.kind, words in ended.error.message) == ("validation", True), ended.error
        assert ref.is_alive()


@pytest.mark.parametrize("field", ["checkpoints", "retention", "watchdog", "rebuild", "loss_guard", "lora", "service"])
def test_a_setting_of_another_type_is_refused_by_name(tmp_path: Path, field: str) -> None:
    with pytest.raises(TinkexError, match=field) as raised:
        config(tmp_path, "http://127.0.0.1:1", **{field: "every hour"})
    assert raised.value.kind == "validation"


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_that_cannot_finish_sessions_is_warned_of_and_trains(url: str, tmp_path: Path, status: int) -> None:
    def rule(request: httpx.Request, _count: int) -> httpx.Response | None:
        finishes = request.url.path.endswith("/finish")
        return httpx.Response(status, json={"detail": "no such route"}) if finishes else None

    gate = Gate(5)
    with trainer(config(tmp_path, url, Program(gate=gate)), Faults(rule)) as ref:
        assert gate.reached.wait(30.0)
        until(ref, lambda run: run.durable_update == 3)
        ref.kill()
        gate.open.set()
    assert finish(config(tmp_path, url), Faults(rule)).state == "finished"


@pytest.mark.parametrize("given", [{"lora": LoraConfig(rank=8, seed=1)}, {"base_model": "another"}], ids=str)
def test_a_start_from_weights_of_another_shape_than_the_run_is_to_have_is_refused(
    url: str, tmp_path: Path, given: dict[str, Any]
) -> None:
    first = finish(config(tmp_path, url, Program(2)))
    with trainer(config(tmp_path, url, run="s", from_weights=first.durable_path, **given)) as ref:
        ended = ref.ask(messages.WaitUntilDone(await_timeout=30.0))
    assert isinstance(ended, Err), ended
    assert ended.error.user_error
    assert "8" in ended.error.message or "another" in ended.error.message


def test_a_key_is_nowhere_to_be_seen(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = "tml-very-secret-0123456789"
    gate = Gate(4)
    service = {"base_url": url, "api_key": key, "state_dir": ""}
    given = config(tmp_path, url, Program(gate=gate), service=service)
    assert key not in repr(given)
    with trainer(given) as ref:
        assert gate.reached.wait(30.0)
        seen = [
            str(ref.ask(message)) for message in (messages.Status(), messages.Why(), messages.Pause(await_timeout=0.1))
        ]
        gate.open.set()
        seen.append(str(ref.ask(messages.Resume())))
        seen.append(str(ref.ask(messages.WaitUntilDone(await_timeout=60.0))))
    assert key not in "".join(seen)
    assert key not in caplog.text
    for path in (tmp_path / "runs").rglob("*"):
        assert path.is_dir() or key.encode() not in path.read_bytes(), path


def test_a_trainer_of_a_wrong_key_says_so_without_it(tmp_path: Path, url: str) -> None:
    key = "tml-very-secret\n0123456789"
    with trainer(config(tmp_path, url, service={"base_url": url, "api_key": key})) as ref:
        ended = ref.ask(messages.WaitUntilDone(await_timeout=30.0))
        assert isinstance(ended, Err)
        assert ended.error.kind == "validation"
        assert "very-secret" not in str(ended.error) + repr(ended.error.to_dict())
