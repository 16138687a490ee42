"""``make mutants`` removes each of these protections in turn; here it is only seen that they are where it looks."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).resolve().parents[2]


def protections() -> Any:
    spec = importlib.util.spec_from_file_location("protections", HOUSE / "tests/mutants/protections.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PROTECTIONS


@pytest.mark.parametrize("protection", protections(), ids=lambda protection: protection.name)
def test_a_protection_stands_once_where_it_is_said_to_and_its_tests_are_there(protection: Any) -> None:
    assert (HOUSE / protection.path).read_text().count(protection.stands) == 1
    assert protection.broken != protection.stands
    for word in protection.tests:
        assert not word.endswith(".py") or (HOUSE / word).is_file()


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    names = [protection.name for protection in protections()]
    assert len(set(names)) == len(names) >= 15
