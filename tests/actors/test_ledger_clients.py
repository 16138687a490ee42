"""A client whose predecessor is gone: what it releases, how, and what it leaves to others and says so."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support_clients import Faults, Rule, create, eventually, service
from support_engine_url import health
from support_ledger import files, held_in
from tinkex.actors import ServiceClient, ServiceClientRef
from tinkex.actors._genserver._client import Continue
from tinkex.actors.testing import VirtualClock
from tinkex.cli._servers._engine_process import engine_process
from tinkex.protocol import messages
from tinkex.protocol.replies import LeaseReport

OPENED = ("session_opened", "model_opened")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine_process(tmp_path_factory.mktemp("engine")) as address:
        yield address


@pytest.fixture
def held(url: str, tmp_path: Path) -> Iterator[Path]:
    """The ledger of a client with two models in its session and one in another."""
    with ServiceClient.open(base_url=url, state_dir=tmp_path / "living") as ref:
        path = create(ref).ask(messages.SaveState("s", overwrite=True)).unwrap().path
        create(ref)
        ref.ask(messages.CreateTrainingClientFromState(path)).unwrap()
        yield files(tmp_path / "living")[0]
    eventually(lambda: living(url) == (0, 0))


def living(url: str) -> tuple[int, int]:
    counts = health(url)
    return counts["sessions"], counts["models"]


def bequeath(ledger: Path, folder: Path, *, without: tuple[str, ...] = (), **header: Any) -> Path:
    """Put ``ledger`` into ``folder`` as if its process were gone, without some kinds of records."""
    folder.mkdir(mode=0o700, exist_ok=True)
    records = [json.loads(line) for line in ledger.read_text().splitlines()]
    records[0] = {**records[0], **header}
    lines = [json.dumps(record) for record in records if record["kind"] not in without]
    (folder / ledger.name).write_text("\n".join(lines) + "\n")
    return folder / ledger.name


def leaks(ref: ServiceClientRef) -> list[LeaseReport]:
    return ref.ask(messages.Leaks()).unwrap().leases


def answer(status: int, *endings: str) -> Rule:
    def rule(request: httpx.Request, _count: int) -> httpx.Response | None:
        if request.url.path.endswith(endings):
            return httpx.Response(status, json={"detail": "no"})
        return None

    return rule


@pytest.mark.parametrize("without", [(), ("model_opened",), OPENED])
def test_sessions_are_finished_and_those_only_intended_asked_for_again_under_their_key_first(
    url: str, held: Path, tmp_path: Path, without: tuple[str, ...]
) -> None:
    folder = tmp_path / "state"
    bequeath(held, folder, without=without)
    assert living(url) == (2, 3)
    with service(url, state_dir=folder) as (ref, faults):
        mine = create(ref)
        eventually(lambda: living(url) == (1, 1))
        assert mine.ask(messages.SaveState("mine", overwrite=True)).is_ok
        eventually(lambda: len(files(folder)) == 1)
        assert leaks(ref) == []
        assert len(faults.sent("/create_session")) == 1 + (2 if "session_opened" in without else 0)
        assert faults.sent("/unload_model") == []
    assert files(folder) == []


@pytest.mark.parametrize("without", [(), ("model_opened",), OPENED])
@pytest.mark.parametrize("status", [404, 405])
def test_where_a_session_cannot_be_finished_its_models_are_unloaded_under_their_numbers(
    url: str, held: Path, tmp_path: Path, without: tuple[str, ...], status: int
) -> None:
    folder = tmp_path / "state"
    bequeath(held, folder, without=without)
    with service(url, answer(status, "/finish"), state_dir=folder) as (ref, faults):
        eventually(lambda: living(url) == (2, 0))
        eventually(lambda: len(files(folder)) == 1)
        assert leaks(ref) == []
        assert len(faults.sent("/create_model")) == (3 if without else 0)


@pytest.mark.parametrize("without", [(), ("model_opened",)])
def test_another_keys_sessions_are_left_and_told_of_until_a_client_with_the_key_releases_them(
    url: str, held: Path, tmp_path: Path, without: tuple[str, ...]
) -> None:
    folder = tmp_path / "state"
    file = bequeath(held, folder, without=without)
    with service(url, state_dir=folder, api_key="tml-another") as (ref, _):
        found = eventually(lambda: [lease for lease in leaks(ref) if lease.state == "expiring"])
        eventually(lambda: len(leaks(ref)) == 2 and {lease.state for lease in leaks(ref)} == {"expiring"})
        assert "a client that may" in found[0].reason
        assert living(url) == (2, 3)
        assert held_in(file).sessions
        with ServiceClient.open(base_url=url, state_dir=folder) as owner:
            eventually(lambda: living(url) == (0, 0))
            eventually(lambda: not file.exists())
            assert leaks(owner) == []
    assert files(folder) == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_says_not_yours_is_asked_no_more(url: str, held: Path, tmp_path: Path, status: int) -> None:
    folder = tmp_path / "state"
    file = bequeath(held, folder)
    clock = VirtualClock()
    with service(url, answer(status, "/finish"), clock=clock, state_dir=folder) as (ref, faults):
        eventually(lambda: {lease.state for lease in leaks(ref)} == {"expiring"})
        assert str(status) in leaks(ref)[0].reason
        asked = len(faults.seen)
        clock.advance(200.0)
        assert len(faults.seen) == asked
        clock.advance(101.0)
        assert leaks(ref) == [], "by now the server has ended them for want of heartbeats"
        assert file.exists()
    with service(url, answer(status, "/finish"), clock=clock, state_dir=folder):
        eventually(lambda: not file.exists())


def test_what_cannot_be_released_yet_is_told_of_and_tried_again(url: str, held: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    bequeath(held, folder)
    clock = VirtualClock()
    faults = Faults(answer(418, "/finish"))
    with service(url, clock=clock, faults=faults, state_dir=folder) as (ref, _):
        assert len(leaks(ref)) == 2
        eventually(lambda: all("418" in lease.reason for lease in leaks(ref)))
        assert {lease.state for lease in leaks(ref)} == {"releasing"}
        assert living(url) == (2, 3)
        faults.rule = None

        def later() -> bool:
            clock.advance(30.0)
            return living(url) == (0, 0)

        eventually(later)
        eventually(lambda: leaks(ref) == [])
        assert len(files(folder)) == 1


@pytest.mark.parametrize("ending", ["/create_session", "/create_model"])
def test_a_refusal_now_says_nothing_of_what_was_asked_before(url: str, held: Path, tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "state"
    file = bequeath(held, folder, without=OPENED)
    clock = VirtualClock()
    finishes = answer(405, "/finish") if ending == "/create_model" else answer(405)
    faults = Faults(lambda request, count: finishes(request, count) or answer(400, ending)(request, count))
    with service(url, clock=clock, faults=faults, state_dir=folder) as (ref, _):
        eventually(lambda: all("400" in lease.reason for lease in leaks(ref)))
        assert len(leaks(ref)) == 2
        assert file.exists()
        faults.rule = finishes

        def later() -> bool:
            clock.advance(30.0)
            return living(url)[1] == 0

        eventually(later)
        eventually(lambda: not file.exists())


def test_what_could_not_be_released_until_it_must_have_expired_is_given_up(
    url: str, held: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    file = bequeath(held, folder)
    clock = VirtualClock()
    with service(url, answer(418, "/finish"), clock=clock, state_dir=folder) as (ref, _):
        eventually(lambda: all("418" in lease.reason for lease in leaks(ref)))
        clock.advance(240.0)
        assert file.exists()

        def later() -> bool:
            clock.advance(30.0)
            return not file.exists()

        eventually(later)
        assert leaks(ref) == []


def test_a_stop_before_all_is_released_leaves_the_rest_to_the_next_start(url: str, held: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    file = bequeath(held, folder)
    with service(url, answer(418, "/finish"), state_dir=folder) as (ref, _):
        eventually(lambda: all("418" in lease.reason for lease in leaks(ref)))
    assert files(folder) == [file]
    with service(url, state_dir=folder):
        eventually(lambda: living(url) == (0, 0))
    assert files(folder) == []


def test_what_is_of_another_server_is_left_to_a_client_of_that_and_told_of(
    url: str, held: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    file = bequeath(held, folder, started=1)
    with service("http://127.0.0.1:9", state_dir=folder) as (ref, faults):
        assert {(lease.state, url in lease.reason) for lease in leaks(ref)} == {("left", True)}
        assert faults.seen == []
        with ServiceClient.open(base_url=url, state_dir=folder):
            eventually(lambda: living(url) == (0, 0))
            eventually(lambda: not file.exists())
        assert leaks(ref) == []
    assert files(folder) == []


def crash() -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize("end", ["stop", "kill", "crash"])
def test_however_a_client_ends_nothing_is_left_in_the_folder(url: str, tmp_path: Path, end: str) -> None:
    with service(url, state_dir=tmp_path) as (ref, _):
        path = create(ref).ask(messages.SaveState("s", overwrite=True)).unwrap().path
        ref.ask(messages.CreateTrainingClientFromState(path)).unwrap()
        create(ref).stop()
        (file,) = files(tmp_path)
        eventually(lambda: [len(one.models) for one in held_in(file).sessions.values()] == [1, 1])
        if end == "stop":
            ref.stop()
            assert files(tmp_path) == []
        elif end == "kill":
            ref.kill()
        else:
            ref.tell(Continue("a bug", crash))
        eventually(lambda: files(tmp_path) == [])
        eventually(lambda: living(url) == (0, 0))


def test_a_session_that_the_server_ended_is_held_no_more(url: str, tmp_path: Path) -> None:
    clock = VirtualClock()
    with service(url, answer(410, "/session_heartbeat"), clock=clock, state_dir=tmp_path) as (ref, _):
        create(ref)
        (file,) = files(tmp_path)
        assert held_in(file).sessions
        clock.advance(10.0)
        eventually(lambda: not held_in(file).sessions)
        assert health(url)["sessions"] == 1, "the server has not ended it in truth"
    finish_all(url)


def finish_all(url: str) -> None:
    listed = httpx.get(f"{url}/api/v1/sessions?limit=1000", headers={"x-api-key": "tml-local"}).json()
    for session_id in listed["sessions"]:
        httpx.post(
            f"{url}/api/v1/sessions/{session_id}/finish",
            headers={"x-api-key": "tml-local"},
            json={"reason": {"type": "success"}, "detail": None},
        )
    assert living(url) == (0, 0)


FULL = """
import logging, resource, sys
import structlog
from pathlib import Path
from tinkex.actors import ServiceClient
from tinkex.protocol import AdamParams, Datum, ModelInput, messages

structlog.configure(
    wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),
)
datum = Datum(ModelInput.from_ints([1, 2]), {"target_tokens": [2, 3], "weights": [1.0, 1.0]})
folder = Path(sys.argv[2])
with ServiceClient.open(base_url=sys.argv[1], state_dir=folder) as service:
    model = service.ask(messages.GetServerCapabilities()).unwrap().supported_models[0].model_name
    (file,) = folder.iterdir()
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, hard))
    size = file.stat().st_size
    training = service.ask(messages.CreateLoraTrainingClient(model, rank=4)).unwrap()
    training.ask(messages.ForwardBackward([datum])).unwrap()
    training.ask(messages.OptimStep(AdamParams())).unwrap()
    assert file.stat().st_size == size
    assert b"session_intended" not in file.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    service.ask(messages.CreateLoraTrainingClient(model, rank=4)).unwrap()
    assert file.read_bytes().count(b"model_intended") == 2
assert list(folder.iterdir()) == []
print("trained")
"""


def test_a_full_disk_is_a_warning_and_training_goes_on(url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, url, str(tmp_path)]
    program = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert program.stdout == "trained\n", program.stderr
    assert program.stderr.count("ledger not written") == 1
    assert "File too large" in program.stderr
    eventually(lambda: living(url) == (0, 0))


def test_nothing_is_written_without_a_state_folder(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKEX_STATE_DIR", str(tmp_path / "by-variable"))
    with service(url, state_dir="") as (ref, _):
        create(ref)
        assert list(tmp_path.iterdir()) == []
    with service(url) as (ref, _):
        create(ref)
        assert held_in(files(tmp_path / "by-variable")[0]).sessions
    monkeypatch.delenv("TINKEX_STATE_DIR")
    monkeypatch.chdir(tmp_path)
    with service(url) as (ref, _):
        create(ref)
        assert [path.name for path in files(tmp_path)] == ["by-variable"]
