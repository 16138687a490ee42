"""Errors are let through, except at borders that have a name.

A broad ``except`` (``Exception``, ``BaseException``, bare, in a tuple, under another name, or as ``suppress``) either
lets everything through again, its last statement being a bare ``raise``, or stands in a function that is named here.
To add one, write ``file:Class.function`` under the border that it is. What fits no border is narrowed instead.
"""

import ast
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("actors", "protocol", "engine", "cli")

BORDERS = {
    "actor loop: whatever a handler or an init raises is that actor's crash, and nobody else's": [
        "actors/_genserver/_genserver.py:GenServer.start",
        "actors/_genserver/_genserver.py:GenServer._handle_receive",
        "actors/_genserver/_life.py:Life.setup",
        "actors/_supervision/_roster.py:Roster.start",
    ],
    "users' callbacks: one that raises harms neither us nor the next one": [
        "actors/_service/_announcer.py:Announcer._call",
        "actors/_recovery/_callback.py:call_back.call",
        "actors/_trainer/_verify_resume.py:_lessons",
        "actors/_genserver/_genserver.py:GenServer.prepare_spawn.done",
        "actors/_genserver/_once.py:run",
        "actors/_genserver/_reply.py:_derive",
        "actors/_runtime/_clock.py:_TimerThread._fire_due",
    ],
    "io loop, on which the transport runs: a task's end is its outcome, and never the loop's end": [
        "actors/_runtime/_io.py:IoTask.end",
        "actors/_runtime/_io.py:IoTask._run",
    ],
    "seeded world: what a thread or timer raises is told before others get their turn": [
        "actors/_runtime/_scheduler.py:SeededScheduler._play",
        "actors/_runtime/_turns.py:Turns._move_time",
    ],
    "engine's compute thread: a fault fails one operation, and the thread serves the other models": [
        "engine/_service/_executor.py:Executor._main",
        "engine/_service/_executor.py:Executor._run",
    ],
}

BROAD = {"Exception", "BaseException", "BaseExceptionGroup", "ExceptionGroup"}


class Finder(ast.NodeVisitor):
    """Collects the functions in which a broad except swallows, with the lines."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[tuple[str, int]] = []
        self._place: list[str] = []
        self._broad = set(BROAD)
        for node in ast.walk(tree):  # names that stand for a broad one, or for a tuple that holds one
            if isinstance(node, ast.Assign) and self._is_broad(node.value):
                self._broad |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and self._is_broad(node.value):
                self._broad.add(node.target.id)
            elif isinstance(node, ast.ImportFrom):
                self._broad |= {alias.asname for alias in node.names if alias.asname and alias.name in BROAD}
        self.visit(tree)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._enter(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._enter(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._enter(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if (node.type is None or self._is_broad(node.type)) and not lets_through(node):
            self._find(node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "suppress" and any(map(self._is_broad, node.args)):
            self._find(node)
        self.generic_visit(node)

    def _enter(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._place.append(node.name)
        self.generic_visit(node)
        self._place.pop()

    def _find(self, node: ast.ExceptHandler | ast.Call) -> None:
        self.found.append((".".join(self._place), node.lineno))

    def _is_broad(self, node: ast.expr | None) -> bool:
        match node:
            case ast.Name(name) | ast.Attribute(attr=name):
                return name in self._broad
            case ast.Tuple(items):
                return any(map(self._is_broad, items))
            case ast.Starred(value):
                return self._is_broad(value)
            case ast.BinOp(left, ast.Add(), right):
                return self._is_broad(left) or self._is_broad(right)
            case _:
                return False


def lets_through(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    leaves = any(isinstance(node, ast.Return | ast.Continue | ast.Break) for node in ast.walk(handler))
    return isinstance(last, ast.Raise) and last.exc is None and not leaves


def swallowing(source: str) -> list[tuple[str, int]]:
    return Finder(ast.parse(source)).found


def in_the_house() -> Iterator[tuple[str, int]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            yield from ((f"{name}:{place}", line) for place, line in swallowing(path.read_text()))


NAMED = Counter(place for places in BORDERS.values() for place in places)


def test_errors_are_swallowed_at_named_borders_only() -> None:
    nameless = [f"{place} (line {line})" for place, line in in_the_house() if place not in NAMED]
    assert nameless == [], "narrow the except, or name the border that it is in this test"


def test_every_name_stands_for_a_border_that_is_there_once() -> None:
    there = Counter(place for place, _ in in_the_house())
    assert {place: there[place] for place in NAMED if there[place] != 1} == {}
    assert max(NAMED.values()) == 1


@pytest.mark.parametrize(
    "handler",
    [
        "except Exception:\n    pass",
        "except BaseException as error:\n    print(error)",
        "except:\n    pass",
        "except (ValueError, Exception):\n    pass",
        "except builtins.Exception:\n    pass",
        "except b.BaseException:\n    pass",
        "except ANY:\n    pass",
        "except SOME:\n    pass",
        "except (*SOME, KeyError):\n    pass",
        "except Wide:\n    pass",
        "except* Exception:\n    pass",
        "except Exception as error:\n    raise ValueError from error",
        "except Exception:\n    if x:\n        return\n    raise",
    ],
)
def test_a_broad_except_is_seen_in_every_form(handler: str) -> None:
    source = "from builtins import Exception as Wide\nANY = Exception\nSOME: tuple = (ValueError, BaseException)\n"
    body = textwrap.indent(f"try:\n    work()\n{handler}", "    ")
    assert swallowing(f"{source}class A:\n  def f(self):\n{body}") == [("A.f", 8)]


@pytest.mark.parametrize(
    ("source", "places"),
    [
        ("with contextlib.suppress(Exception): x()", [""]),
        ("with suppress(ValueError, BaseException): x()", [""]),
        ("with suppress(ValueError): x()", []),
        ("try: x()\nexcept ValueError: pass", []),
        ("try: x()\nexcept BaseException:\n    undo()\n    raise", []),
        ("def f():\n  def g():\n    try: x()\n    except: pass", ["f.g"]),
    ],
)
def test_what_swallows_is_told_from_what_lets_through(source: str, places: list[str]) -> None:
    assert [place for place, _ in swallowing(source)] == places
