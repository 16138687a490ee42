"""The names of the rooms that import lazily are all there when asked for, each from where the checkers are told."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import tinkex.actors
import tinkex.protocol

ROOMS = {"tinkex.actors": tinkex.actors, "tinkex.protocol": tinkex.protocol}
NAMES = [(room, name) for room, module in ROOMS.items() for name in module.__all__]
ELSEWHERE = {"tinkex.actors": {"ChildSpec": "tinkex.protocol"}, "tinkex.protocol": dict[str, str]()}
UNASKED = (
    *(f"tinkex.actors.{floor}" for floor in ("_trainer", "_runs", "_programs")),
    *(f"tinkex.actors._leases.{module}" for module in ("_ledger.", "_ledger_file", "_predecessors", "_state_dir")),
    *(f"tinkex.actors._recovery._{module}" for module in ("recoverer", "recovery_calls", "recovery_plan")),
    *(f"tinkex.protocol._{module}" for module in ("explain", "manifest", "message_codec", "trainer_policies")),
)
"""What a client needs only for a state folder, a policy, a trainer or a tool."""


def told(room: str) -> dict[str, str]:
    """Name -> module, as the imports for type checkers have it; a module that is itself a name is its own place."""
    places: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(ROOMS[room]))):
        if isinstance(node, ast.ImportFrom) and node.module == room:
            places |= {alias.name: f"{room}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{room}."):
            places |= {alias.name: node.module for alias in node.names}
    return {name: place for name, place in places.items() if name != "lazily"}


def run(code: str) -> list[str]:
    """Return the words that a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def newly(statement: str) -> set[str]:
    """Return the modules that ``statement`` loads in a fresh process."""
    return set(run(f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"))


@pytest.mark.parametrize("room", ROOMS)
def test_type_checkers_are_told_of_every_name(room: str) -> None:
    assert {*told(room), *ELSEWHERE[room]} == set(ROOMS[room].__all__)


@pytest.mark.parametrize(("room", "name"), NAMES)
def test_a_name_is_what_its_place_has(room: str, name: str) -> None:
    place = import_module(told(room).get(name, ELSEWHERE[room].get(name, "")))
    found = getattr(ROOMS[room], name)
    assert found is (place if isinstance(found, ModuleType) else getattr(place, name))
    assert name in vars(ROOMS[room]), "it is found at once from then on"


@pytest.mark.parametrize("room", ROOMS)
def test_a_name_that_is_none_is_said_to_be_none(room: str) -> None:
    with pytest.raises(AttributeError, match=rf"module '{room}' has no attribute 'Trayner'"):
        ROOMS[room].Trayner  # noqa: B018
    with pytest.raises(ImportError, match=r"cannot import name 'Trayner'"):
        exec(f"from {room} import Trayner")


def test_a_client_does_not_pay_for_what_it_does_not_use() -> None:
    loaded = newly("from tinkex.actors import ServiceClient")
    assert "tinkex.actors._service._service_client" in loaded
    assert [name for name in loaded if f"{name}.".startswith(UNASKED)] == []
    assert not loaded & {"numpy", "httpx", "structlog", "dataclasses", "email.utils", "hmac", "pathlib", "sqlite3"}


def test_data_alone_loads_neither_messages_nor_bodies() -> None:
    loaded = newly("from tinkex.protocol import Ok")
    assert "tinkex.protocol._result" in loaded
    assert not loaded & {"tinkex.protocol.messages", "tinkex.protocol.wire", "tinkex.protocol.replies"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_shell_can_complete_names_that_nobody_used_yet(room: str) -> None:
    assert set(run(f"import {room}; print(*dir({room}))")) >= set(ROOMS[room].__all__)


@pytest.mark.parametrize("room", ROOMS)
def test_a_star_brings_all(room: str) -> None:
    names = ROOMS[room].__all__
    assert run(f"from {room} import *; print(*[name for name in {names} if name in globals()])") == names


def test_a_module_that_is_a_name_is_there_without_being_imported() -> None:
    shown = run("import tinkex.protocol as p; print(p.messages.OptimStep.__name__, p.wire.encode.__name__, p.replies)")
    assert shown[:2] == ["OptimStep", "encode"]


def test_threads_that_ask_at_once_get_the_same() -> None:
    code = """
import threading, tinkex.protocol, tinkex.actors
gate, seen = threading.Barrier(8), []
def ask():
    gate.wait()
    seen.append((tinkex.protocol.messages.OptimStep, tinkex.protocol.Err, tinkex.actors.GenServer))
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(seen), len(set(seen)))
"""
    assert run(code) == ["8", "1"]
