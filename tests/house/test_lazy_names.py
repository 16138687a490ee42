"""The names of ``tinkex.actors`` are all there when asked for, each from the place that the checkers are told of."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import tinkex.actors

UNASKED = ("_trainer", "_runs", "_programs")


def told() -> dict[str, str]:
    """Name -> module, as the imports for type checkers have it."""
    places: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(tinkex.actors))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tinkex.actors."):
            places |= {alias.name: node.module for alias in node.names}
    return places


def test_type_checkers_are_told_of_every_name() -> None:
    assert {*told(), "ChildSpec"} == set(tinkex.actors.__all__)


@pytest.mark.parametrize("name", tinkex.actors.__all__)
def test_a_name_is_what_its_place_has(name: str) -> None:
    place = told().get(name, "tinkex.protocol")
    assert getattr(tinkex.actors, name) is getattr(import_module(place), name)
    assert name in vars(tinkex.actors), "it is found at once from then on"


def test_a_name_that_is_none_is_said_to_be_none() -> None:
    with pytest.raises(AttributeError, match=r"module 'tinkex\.actors' has no attribute 'Trayner'"):
        tinkex.actors.Trayner  # type: ignore[attr-defined]  # noqa: B018


def test_a_client_does_not_pay_for_trainers() -> None:
    code = "import sys; from tinkex.actors import ServiceClient; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = shown.stdout.split()
    assert "tinkex.actors._service._service_client" in loaded
    assert [name for name in loaded if name.startswith(tuple(f"tinkex.actors.{room}" for room in UNASKED))] == []


def test_a_shell_can_complete_names_that_nobody_used_yet() -> None:
    code = "import tinkex.actors; print(*dir(tinkex.actors))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert set(shown.stdout.split()) >= set(tinkex.actors.__all__)


def test_a_star_brings_all() -> None:
    code = "from tinkex.actors import *; print(Trainer.__name__, GenServer.__name__)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.split() == ["Trainer", "GenServer"]
