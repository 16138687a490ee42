"""``make mutants`` removes each of these protections in turn; here it is only seen that they are where it looks."""

from pathlib import Path

import pytest

from mutants.protections import PROTECTIONS, Protection

HOUSE = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("protection", PROTECTIONS, ids=lambda protection: protection.name)
def test_a_protection_stands_once_where_it_is_said_to_and_its_tests_are_there(protection: Protection) -> None:
    assert (HOUSE / protection.path).read_text().count(protection.stands) == 1
    assert protection.broken != protection.stands
    for word in protection.tests:
        assert not word.endswith(".py") or (HOUSE / word).is_file()


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    names = [protection.name for protection in PROTECTIONS]
    assert len(set(names)) == len(names) >= 15
