"""kill -9 of our own process at any moment: the next start with its state folder brings the server to zero.

``TINKEX_KILLS=200 TINKEX_SEED=7`` runs as many as you like; a failure names the seed and the round.
"""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from support_clients import base_model, create, eventually
from support_engine_url import health
from support_ledger import files
from tinkex.actors import ServiceClient
from tinkex.cli._servers._engine_process import engine_process
from tinkex.protocol import messages

ZYGOTE = Path(__file__).parents[1] / "clients_zygote.py"
ROUNDS = int(os.environ.get("TINKEX_KILLS", "16"))
SEED = int(os.environ.get("TINKEX_SEED", "20261124"))
FUSE = 600
KEY = "tml-planted-for-the-ledger"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine_process(tmp_path_factory.mktemp("engine")) as address:
        yield address


class Mother:
    """The process whose children die."""

    def __init__(self, url: str, state_dir: Path) -> None:
        self._order = {"url": url, "state_dir": str(state_dir), "api_key": KEY}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, str(ZYGOTE)], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )

    def child_dies(self, fuse: int, seed: int) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**self._order, "fuse": fuse, "seed": seed}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["signal"] == -signal.SIGKILL, f"the program ended by itself: {answer}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def living(url: str) -> tuple[int, int]:
    counts = health(url)
    return counts["sessions"], counts["models"]


def test_the_next_start_releases_what_killed_processes_held_whenever_they_were_killed(url: str, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    rng = random.Random(SEED)
    held = 0
    with Mother(url, state_dir) as mother:
        for round_ in range(ROUNDS):
            told = f"round {round_} of TINKEX_SEED={SEED}"
            for _ in range(rng.choice([1, 1, 2, 3])):  # a successor may be killed too, in the midst of releasing
                mother.child_dies(fuse=1 + rng.randrange(FUSE) * rng.randrange(FUSE) // FUSE, seed=rng.randrange(10**6))
            held += living(url) != (0, 0)
            for file in files(state_dir):
                assert KEY.encode() not in file.read_bytes(), f"{told}: a key in {file}"
            with ServiceClient.open(base_url=url, state_dir=state_dir, api_key=KEY) as service:
                try:
                    eventually(lambda: living(url) == (0, 0))
                except AssertionError as error:
                    text = "\n".join(file.read_text() for file in files(state_dir))
                    raise AssertionError(f"{told}: {living(url)} are left\n{text}") from error
                eventually(lambda: len(files(state_dir)) == 1)
                assert service.ask(messages.Leaks()).unwrap().leases == [], told
            assert files(state_dir) == [], f"{told}: an ordinary stop leaves nothing"
    assert held >= ROUNDS // 3, "the kills came too early to mean anything"


def test_the_models_of_a_living_process_are_not_its_successors_to_release(url: str, tmp_path: Path) -> None:
    program = """
import sys
from tinkex.actors import ServiceClient
from tinkex.protocol import messages
service = ServiceClient.start(base_url=sys.argv[1])
training = service.ask(messages.CreateLoraTrainingClient(sys.argv[2], rank=4)).unwrap()
print("ready", flush=True)
sys.stdin.readline()
training.ask(messages.SaveState("still-there")).unwrap()
service.stop()
print("stopped", flush=True)
"""
    with ServiceClient.open(base_url=url, state_dir=tmp_path) as other:
        mine = create(other)
        command = [sys.executable, "-c", program, url, base_model(other)]
        environment = {**os.environ, "TINKEX_STATE_DIR": str(tmp_path)}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            assert len(files(tmp_path)) == 2
            with ServiceClient.open(base_url=url, state_dir=tmp_path) as successor:
                assert successor.ask(messages.GetServerCapabilities()).is_ok
                assert successor.ask(messages.Leaks()).unwrap().leases == []
            assert living(url) == (2, 2)
            out, _ = process.communicate("go on\n", timeout=60)
            assert out == "stopped\n"
        assert mine.ask(messages.SaveState("mine-too")).is_ok
        assert len(files(tmp_path)) == 1
    assert files(tmp_path) == []
    assert living(url) == (0, 0)
