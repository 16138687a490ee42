"""A short program, one optimizer step and an ordered end, loads no library that it has no use for."""

import json
import os
import subprocess
import sys

from fast_path.processes import environment, stub

PROGRAM = """
import json, sys
before = set(sys.modules)
from tinkex.actors import ServiceClient
from tinkex.actors.testing import VirtualClock, runtime
from tinkex.protocol import AdamParams, messages

def told(what):
    print(json.dumps([what, sorted(set(sys.modules) - before)]), flush=True)

clock = VirtualClock()
with runtime(clock=clock):
    service = ServiceClient.start(base_url=sys.argv[1], state_dir="")
    training = service.ask(messages.CreateLoraTrainingClient("fast/path", rank=8)).unwrap()
    training.ask(messages.OptimStep(AdamParams(learning_rate=1e-4))).unwrap()
    told("stepped")
    clock.advance(30.0)  # heartbeats go out before what is asked now
    training.ask(messages.OptimStep(AdamParams(learning_rate=1e-4))).unwrap()
    told("beaten")
    service.stop()
    told("ended")
"""
HEAVY = {"numpy", "httpx", "httpcore", "anyio", "structlog", "rich", "click", "sqlite3", "dataclasses", "email.utils"}


def loaded(when: str) -> set[str]:
    """Return what the program has loaded by then."""
    with stub() as url:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, url],
            env={**environment("ours"), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert done.stderr == ""
    found: dict[str, list[str]] = dict(json.loads(line) for line in done.stdout.splitlines())
    return set(found[when])


def test_one_step_loads_nothing_heavy() -> None:
    assert "tinkex.actors._training._training_client" in (names := loaded("stepped"))
    assert names & HEAVY == set()


def test_a_heartbeat_loads_nothing_heavy_and_so_holds_up_no_other_request() -> None:
    assert loaded("beaten") & HEAVY == set()


def test_an_ordered_end_loads_nothing_heavy_either() -> None:
    assert loaded("ended") & HEAVY == set()
