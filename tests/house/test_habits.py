"""Tests never sleep to wait, and never leave this machine."""

import ast
import re
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support_loopback import is_loopback

TESTS = Path(__file__).parents[1]

SLEEPS = {
    "actors/test_genserver_seeded.py:test_*": "in a seeded world, where a sleep takes no time",
    "actors/test_world_end.py:test_*": "in a seeded world",
    "actors/test_world_loop.py:test_*": "in a seeded world",
    "support_world.py:*": "in a seeded world",
    "engine/test_crash.py:*": "not to wait: to kill the engine elsewhere each time",
    "engine/test_http_models.py:until_tensor_bytes": "nobody tells when a frame of another thread is gone",
    "faults/network.py:*": "in a seeded world",
    "support_runs.py:Runs": "in virtual time",
    "support_train_server.py:TrainServer": "in virtual time",
    "support_engine.py:*": "between polls of a real engine's compute thread, which needs the processor",
}
"""Who may sleep, as ``file:function``, and why; ``*`` stands for any end of a name."""

HOSTS = {
    "10.0.0.1": "actors/test_settings.py: refused before anything is sent",
}
"""Addresses that could be somebody's, and why they may stand in a test."""

URL = re.compile(r"https?://(?:[^/\s\"'@]*@)?(\[[^\]]*\]|[A-Za-z0-9.-]+)")
NOBODYS = re.compile(r"(?:^|\.)(?:example|invalid|test|localhost|example\.(?:com|org|net))$|^[a-z]*$|^192\.0\.2\.\d+$")
"""Hosts that can be nobody's: names and addresses reserved for examples, and names of one word."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(TESTS.rglob("*.py")):
        yield path.relative_to(TESTS).as_posix(), ast.parse(path.read_text())


def sleeps(tree: ast.Module) -> list[tuple[str, int]]:
    """Where ``time.sleep`` is called, or ``asyncio.sleep`` with anything but 0: outermost function and line."""
    found: list[tuple[str, int]] = []
    names = {"time.sleep", "asyncio.sleep"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "asyncio"}:
            names |= {alias.asname or alias.name for alias in node.names if alias.name == "sleep"}
        elif isinstance(node, ast.Import):
            names |= {f"{alias.asname}.sleep" for alias in node.names if alias.name in {"time", "asyncio"}}
    for top in tree.body:
        calls = [node for node in ast.walk(top) if isinstance(node, ast.Call) and ast.unparse(node.func) in names]
        found += [(getattr(top, "name", ""), call.lineno) for call in calls if not is_turn(call)]
    return found


def is_turn(call: ast.Call) -> bool:
    """Say whether it is ``asyncio.sleep(0, ...)``, which waits for one turn of the loop only."""
    seconds = call.args[0] if call.args else None
    return ast.unparse(call.func).startswith("asyncio") and isinstance(seconds, ast.Constant) and seconds.value == 0


def may(place: str, allowed: dict[str, str]) -> str | None:
    return next((rule for rule in allowed if re.fullmatch(re.escape(rule).replace(r"\*", ".*"), place)), None)


def test_no_test_sleeps_to_wait_and_no_leave_to_sleep_is_stale() -> None:
    found = [(f"{name}:{place}", line) for name, tree in sources() for place, line in sleeps(tree)]
    assert [f"{place} (line {line})" for place, line in found if may(place, SLEEPS) is None] == [], (
        "wait for an event, or use the virtual clock"
    )
    assert {may(place, SLEEPS) for place, _ in found} == set(SLEEPS)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import time\ndef f():\n    time.sleep(0.1)", 1),
        ("import time as t\ndef f():\n    t.sleep(0)", 1),
        ("from time import sleep\nsleep(x)", 1),
        ("from asyncio import sleep as nap\nasync def f():\n    await nap(1)", 1),
        ("import asyncio\nasync def f():\n    await asyncio.sleep(0.1)\n    await asyncio.sleep(delay)", 2),
        ("import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    await clock.sleep(5)", 0),
    ],
)
def test_a_sleep_is_seen_in_every_form(source: str, count: int) -> None:
    assert len(sleeps(ast.parse(textwrap.dedent(source)))) == count


def test_no_test_names_an_address_that_could_be_somebodys() -> None:
    named: dict[str, str] = {}
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                text = node.value if isinstance(node.value, str) else node.value.decode(errors="replace")
                named |= dict.fromkeys(URL.findall(text), f"{name}:{node.lineno}")
    strange = {host: at for host, at in named.items() if not is_loopback(host) and not NOBODYS.search(host.lower())}
    assert {host: at for host, at in strange.items() if host not in HOSTS} == {}
    assert set(HOSTS) <= set(strange)


@pytest.mark.parametrize("address", [("192.0.2.1", 9), ("2001:db8::1", 9, 0, 0)])
def test_whoever_leaves_this_machine_is_stopped(address: Any) -> None:
    family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    with socket.socket(family) as sock:
        for connect in (sock.connect, sock.connect_ex):
            with pytest.raises(RuntimeError, match="tests stay on"):
                connect(address)
    with pytest.raises(RuntimeError, match="looks up 'far"):
        socket.getaddrinfo("far.example", 443)


def test_whoever_stays_here_is_let_through() -> None:
    with socket.socket() as there, socket.socket() as here:
        there.bind(("127.0.0.1", 0))
        there.listen()
        here.connect(there.getsockname())
    assert socket.getaddrinfo("localhost", 80)
    assert is_loopback("::1")
    assert not is_loopback("127.0.0.1.example")
