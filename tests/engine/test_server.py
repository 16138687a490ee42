"""The service as a process: bound, locked, ended."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from support_engine import DATA, Client, Model, logged, paused
from tinkex.engine import Engine, EngineConfig, EngineError, EngineThread, app, running_engine, serve
from tinkex.protocol import ApiKey

KEY = ApiKey("tml-x")

SERVE = """
import sys
from pathlib import Path
from typing import Any, cast
from tinkex.engine import EngineConfig, serve
serve(EngineConfig(Path(sys.argv[1]), **eval(sys.argv[2])), on_ready=lambda url: print(url, flush=True))
print("returned", flush=True)
"""


@contextmanager
def process(root: Path, settings: str = "{}") -> Generator[tuple[subprocess.Popen[str], str]]:
    """Serve from a process of its own; gives it and its URL."""
    command = [sys.executable, "-W", "error", "-c", SERVE, str(root), settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        lines = iter(running.stdout.readline, "")
        url = next((line.strip() for line in lines if line.startswith("http")), "")
        try:
            yield running, url
        finally:
            running.kill()


async def test_the_thread_serves_http_and_leaves_nothing(tmp_path: Path) -> None:
    """A whole run over a socket; afterwards thread and port are gone."""
    before = set(threading.enumerate())
    with running_engine(EngineConfig(tmp_path)) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            client = Client(http)
            model = await client.model()
            await model.train(DATA, 2)
            assert (await model.save("x")).startswith("tinker://")
            response = await http.get("/api/v1/healthz")
            assert "date" in response.headers
            assert "server" not in response.headers
    assert {thread for thread in threading.enumerate() if thread.name.startswith("tinkex")} <= before
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(url)


async def test_health_answers_before_the_compute_part_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``ready`` is false meanwhile, and requests that need it wait."""
    gate = threading.Event()
    load = Engine._load

    def slow_load(engine: Engine) -> object:
        assert gate.wait(20)
        return load(engine)

    monkeypatch.setattr(Engine, "_load", slow_load)
    with running_engine(EngineConfig(tmp_path)) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            client = Client(http)
            health = await client.get("healthz")
            assert (health["ready"], health["adapter_bytes"]) == (False, 0)
            making = asyncio.create_task(client.model())
            while not (await client.get("healthz"))["models"]:
                assert not making.done()
            gate.set()
            await making
            assert (await client.get("healthz"))["ready"] is True


async def test_a_client_that_hangs_up_is_not_waited_for(tmp_path: Path) -> None:
    """Its poll is not counted any more."""
    served = EngineThread(EngineConfig(tmp_path))
    with served as url:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            client = Client(http)
            model = await client.model()
            model.seq_id = 1
            future = await client.post("optim_step", model.body(adam_params={}))
            async with httpx.AsyncClient(base_url=url, timeout=60) as other:
                poll = asyncio.create_task(other.post("/api/v1/retrieve_future", json=future))
                while (await client.get("healthz"))["polls"] == 0:
                    assert not poll.done()
                poll.cancel()
                await asyncio.gather(poll, return_exceptions=True)
            deadline = time.monotonic() + 20
            while (await client.get("healthz"))["polls"]:
                assert time.monotonic() < deadline


async def test_the_end_frees_those_who_wait(tmp_path: Path) -> None:
    """A poll is told to try again, new work is refused, and the stop does not take the poll's time."""
    served = EngineThread(EngineConfig(tmp_path, long_poll=60.0))
    url = served.start()
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        client = Client(http)
        model = await client.model()
        with paused(served.engine):
            future = await client.post("optim_step", model.body(adam_params={}))
            poll = asyncio.create_task(client.post("retrieve_future", future))
            while (await client.get("healthz"))["polls"] == 0:
                assert not poll.done()
            served.engine.draining = True
            assert "stopping" in await client.refused("optim_step", model.body(adam_params={}), 503)
            begin = time.monotonic()
            stopping = asyncio.create_task(asyncio.to_thread(served.stop))
            assert (await poll)["type"] == "try_again"
        await stopping
        assert time.monotonic() - begin < 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """``serve`` returns, the exit code is 0, the database is closed, and its models are lost, not live."""
    with process(tmp_path) as (running, url):
        session = httpx.post(f"{url}/api/v1/create_session", json={}).json()["session_id"]
        running.send_signal(number)
        out, _ = running.communicate(timeout=30)
        assert (running.returncode, out.splitlines()[-1]) == (0, "returned")
    assert session.startswith("sess-")
    assert not (tmp_path / "engine.sqlite3-wal").exists()


async def test_after_kill_9_what_was_saved_is_there(tmp_path: Path) -> None:
    """And another process goes on from it with the same bits."""
    with process(tmp_path) as (running, url):
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            model = await Client(http).model()
            await model.train(DATA, 2)
            path = await model.save("x")
            await model.train(DATA, 1)
            expected = await model.forward(DATA)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    with running_engine(EngineConfig(tmp_path)) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            client = Client(http)
            run = await client.get(f"training_runs/{model.model_id}")
            assert (run["corrupted"], run["last_checkpoint"]["tinker_path"]) == (True, path)
            await client.begin()
            body = {"session_id": client.session_id, "model_seq_id": 0, "path": path, "optimizer": True}
            resumed = Model(client, (await client.ok("load_weights", body))["model_id"])
            await resumed.train(DATA, 1)
            assert await resumed.forward(DATA) == expected


def test_no_answer_waits_for_the_acknowledgement_of_its_own_first_half(tmp_path: Path) -> None:
    """40 ms on each exchange, where the system delays acknowledgements."""
    thread = EngineThread(EngineConfig(tmp_path))
    with thread as url, socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))):
        assert thread._server.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_one_process_to_a_root(tmp_path: Path) -> None:
    """The second is told in a sentence, and the first goes on."""
    with running_engine(EngineConfig(tmp_path)) as url:
        with pytest.raises(EngineError, match="another engine uses the root"):
            EngineThread(EngineConfig(tmp_path))
        assert httpx.get(f"{url}/api/v1/healthz").status_code == 200
    with running_engine(EngineConfig(tmp_path)):
        pass


def test_a_port_in_use_is_told_in_a_sentence(tmp_path: Path) -> None:
    """And the root is free again afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for attempt in (serve, EngineThread):
            with pytest.raises(EngineError, match=f"cannot listen on 127.0.0.1 port {port}: .*choose another --port"):
                attempt(EngineConfig(tmp_path, port=port))


def test_a_root_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    """A file in its place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match=r"cannot be written .*choose another --root"):
        serve(EngineConfig(tmp_path / "file" / "root"))


@pytest.mark.parametrize("content", [b"this is no database at all, but it is long enough", None])
def test_a_database_that_cannot_be_read_is_told_in_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    """Torn, or of a newer version; and the lock is given back."""
    file = tmp_path / "engine.sqlite3"
    if content is not None:
        file.write_bytes(content * 100)
    else:
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA user_version=99")
        connection.close()
    for _ in range(2):
        with pytest.raises(EngineError, match=r"engine\.sqlite3 (cannot be opened|is of version 99)"):
            EngineThread(EngineConfig(tmp_path))


def test_an_engine_that_ends_at_its_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of a thread that is waited for for ever."""

    def start(_engine: Engine) -> None:
        raise OSError("no threads left")

    monkeypatch.setattr(Engine, "start", start)
    served = EngineThread(EngineConfig(tmp_path))
    with pytest.raises(EngineError, match="ended at its start"):
        served.start()
    served.stop()
    monkeypatch.undo()
    with running_engine(EngineConfig(tmp_path)):
        pass


def test_ipv6_is_served(tmp_path: Path) -> None:
    """Its URL has brackets."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with running_engine(EngineConfig(tmp_path, host="::1", api_key=KEY)) as url:
        assert url.startswith("http://[::1]:")
        assert httpx.get(f"{url}/api/v1/healthz").status_code == 401


async def test_a_fault_of_the_engine_is_a_500_without_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer tells nothing, the log where, and neither the values."""

    def health(_engine: Engine) -> None:
        secret = KEY.reveal()
        raise ZeroDivisionError(len(secret))

    monkeypatch.setattr(Engine, "health", health)
    config = EngineConfig(tmp_path)
    transport = httpx.ASGITransport(cast("Any", app(config)), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        with logged() as log:
            response = await http.get("/api/v1/healthz")
    assert response.status_code == 500
    assert json.loads(response.content) == {"detail": "internal error; the server's log tells more"}
    ((_, told),) = [(entry["event"], entry["traceback"]) for entry in log]
    assert "ZeroDivisionError: 5" in told
    assert KEY.reveal() not in told


def test_importing_the_engine_loads_no_torch() -> None:
    """It is loaded in the compute thread, when an engine starts."""
    code = "import sys, tinkex.engine; print('torch' in sys.modules, 'safetensors' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
