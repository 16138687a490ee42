import math
import re
from typing import Any

import pytest

from tinkex.protocol import ChildSpec
from tinkex.protocol.messages import StartChild


class Worker:
    pass


def test_a_good_spec_passes_with_its_defaults() -> None:
    spec = ChildSpec("worker", Worker)
    assert (spec.args, spec.kwargs, spec.restart, spec.shutdown, spec.name) == ((), {}, "permanent", 5.0, None)
    assert spec.check() is None
    assert ChildSpec("w", Worker, (1,), {"a": 2}, "temporary", 0, "name").check() is None
    assert ChildSpec("w", Worker, [1], restart="transient").check() is None


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"id": ""}, "id must be text that is not blank"),
        ({"id": 3}, "id must be text, not 3"),
        ({"actor_class": Worker()}, "actor_class must be a class"),
        ({"actor_class": None}, "actor_class must be a class, not None"),
        ({"actor_class": "Worker"}, "actor_class must be a class"),
        ({"args": "abc"}, "args must be a tuple, not str"),
        ({"args": None}, "args must be a tuple"),
        ({"kwargs": []}, "kwargs must be a dict with keys of text, not list"),
        ({"kwargs": {1: 2}}, "kwargs must be a dict with keys of text"),
        ({"kwargs": None}, "kwargs must be a dict"),
        ({"restart": "always"}, "restart must be one of permanent, transient, temporary, not 'always'"),
        ({"restart": None}, "restart must be one of"),
        ({"restart": ["permanent"]}, "restart must be one of"),
        ({"shutdown": -1}, "shutdown must be a finite number of at least 0.0"),
        ({"shutdown": math.inf}, "shutdown must be"),
        ({"shutdown": math.nan}, "shutdown must be"),
        ({"shutdown": "5"}, "shutdown must be"),
        ({"shutdown": None}, "shutdown must be"),
        ({"name": ""}, "name must be text"),
        ({"name": 1}, "name must be text, not 1"),
    ],
)
def test_a_bad_spec_is_refused_by_name_and_so_is_its_message(fields: dict[str, Any], why: str) -> None:
    given: dict[str, Any] = {"id": "worker", "actor_class": Worker, **fields}
    spec = ChildSpec(**given)
    for error in (spec.check(), StartChild(spec).check()):
        assert error is not None
        assert error.user_error
        assert re.search(why, error.message), error.message


def test_the_arguments_of_one_spec_are_not_those_of_another() -> None:
    assert ChildSpec("a", Worker).kwargs is not ChildSpec("b", Worker).kwargs


def test_neither_repr_nor_error_shows_arguments() -> None:
    """They may hold secrets."""
    spec = ChildSpec("worker", Worker, ("tml-secret",), {"api_key": "tml-secret"})
    assert "secret" not in f"{spec} {StartChild(spec)}"
    assert "'worker'" in repr(spec)
    bad: Any = {1: "tml-secret"}
    assert "secret" not in str(ChildSpec("worker", Worker, kwargs=bad).check())
