"""Lineages against a history that is played: what a line holds is what its trainers handed on, and nothing else."""

import random as random_module

from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._runs._lineage import ancestors, descends, strangers, windows
from tinkex.actors._runs._names import parse_position
from tinkex.protocol import manifest_name

name = manifest_name


def test_a_zombies_manifests_are_of_no_line() -> None:
    began = {1: None, 2: name(1, 100), 3: name(2, 150)}
    names = [name(1, 50), name(1, 100), name(1, 120), name(2, 120), name(2, 150), name(2, 180), name(3, 160)]
    assert ancestors(name(3, 160), began, names) == [
        name(3, 160),
        name(2, 150),
        name(2, 120),
        name(1, 100),
        name(1, 50),
    ]
    assert strangers(name(3, 160), began, names) == [name(1, 120), name(2, 180)]
    assert ancestors(name(2, 150), began, names) == [name(2, 150), name(2, 120), name(1, 100), name(1, 50)]


def test_an_epoch_that_was_rolled_back_is_left_out() -> None:
    began = {1: None, 2: name(1, 100), 3: name(1, 50)}
    names = [name(1, 50), name(1, 100), name(2, 150), name(3, 60)]
    assert ancestors(name(3, 60), began, names) == [name(3, 60), name(1, 50)]
    assert not descends(name(3, 60), name(2, 150), began)
    assert descends(name(3, 60), name(1, 50), began)


def test_a_line_without_a_manifest_holds_nothing() -> None:
    names = [name(1, 50)]
    assert ancestors(None, {1: None, 2: None}, names) == []
    assert ancestors(name(2, 10), {1: None, 2: None}, names) == []


def test_a_damaged_record_ends_the_line_and_no_search_runs_for_ever() -> None:
    assert windows(name(2, 5), {2: name(2, 4)}) == {2: 5}
    assert windows(name(2, 5), {2: name(3, 9), 3: name(2, 5)}) == {2: 5}
    assert windows(name(2, 5), {2: "nonsense"}) == {2: 5}
    assert windows("nonsense", {}) == {}


def test_long_runs_sort_by_number() -> None:
    began: dict[int, str | None] = {99_999: None, 100_000: name(99_999, 999_999_999)}
    names = [name(100_000, 10**9), name(99_999, 999_999_999), name(99_999, 10)]
    assert ancestors(name(100_000, 10**9), began, names) == names
    assert parse_position("e0100000-u000000001") is None


@given(st.integers(0, 10**9))
def test_a_line_is_what_its_trainers_handed_on(seed: int) -> None:
    random = random_module.Random(seed)
    began: dict[int, str | None] = {}
    files: dict[str, list[str]] = {}  # from a manifest to the line that it stands at the end of, by what was handed on
    trainers: dict[int, list[str]] = {}
    latest: str | None = None
    epoch = 0
    for _ in range(random.randrange(1, 30)):
        if epoch == 0 or random.random() < 0.3:
            line = [] if latest is None else files[latest]
            if line and random.random() < 0.3:  # a roll back
                latest = random.choice([None, *line])
                line = [] if latest is None else files[latest]
            epoch += 1
            began[epoch] = latest
            trainers[epoch] = line
            continue
        writer = random.choice([epoch, epoch, random.randrange(1, epoch + 1)])
        at = parse_position(trainers[writer][-1]) if trainers[writer] else None
        manifest = name(writer, (0 if at is None else at.update) + random.randrange(1, 4))
        trainers[writer] = files[manifest] = [*trainers[writer], manifest]
        if writer == epoch and random.random() < 0.8:  # else it was killed before the row moved, or goes on without
            latest = manifest
    expected = [] if latest is None else files[latest]
    found = ancestors(latest, began, files)
    assert found == expected[::-1]
    updates = [int(item[-9:]) for item in found]
    assert updates == sorted(set(updates), reverse=True)
