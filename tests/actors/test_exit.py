"""A program that ends without ``stop()``: it ends in time, and its session is finished on the server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from support_clients import eventually
from support_engine_url import health
from tinkex.cli._servers._engine_process import engine_process

PROGRAM = """
import sys
from tinkex.actors import ServiceClient
from tinkex.protocol import messages

service = ServiceClient.start(base_url=sys.argv[1])
model = service.ask(messages.GetServerCapabilities()).unwrap().supported_models[0].model_name
training = service.ask(messages.CreateLoraTrainingClient(model, rank=4)).unwrap()
path = training.ask(messages.SaveState(sys.argv[2])).unwrap().path
restored = service.ask(messages.CreateTrainingClientFromState(path, optimizer=True)).unwrap()
print("ready", flush=True)
"""

ENDINGS = {
    "return": ("", 0),
    "exception": ("raise RuntimeError('over')", 1),
    "sys-exit": ("sys.exit(7)", 7),
    "interrupt": ("import time\nwhile True: time.sleep(0.01)", -signal.SIGINT),
}
SECONDS = 15.0
"""The guard's deadline, and the start of a slow machine."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine_process(tmp_path_factory.mktemp("engine")) as address:
        yield address


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_that_ends_without_stop_ends_in_time_with_its_sessions_finished(url: str, ending: str) -> None:
    code, status = ENDINGS[ending]
    host = url.replace("127.0.0.1", "localhost")  # a name must still resolve at the end
    command = [sys.executable, "-c", PROGRAM + code, host, f"by-{ending}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if ending == "interrupt":
            os.kill(process.pid, signal.SIGINT)
        begun = time.monotonic()
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - begun < SECONDS
    assert process.returncode == status, errors
    assert ("Traceback" in errors) == (ending in ("exception", "interrupt"))
    assert "tinkex" not in errors.replace(sys.prefix, "") or "Traceback" in errors
    counts = health(url)
    assert (counts["sessions"], counts["models"]) == (0, 0)
    eventually(lambda: health(url)["polls"] == 0)
