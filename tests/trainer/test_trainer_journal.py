"""Journals of one run that are opened at the same time."""

from pathlib import Path
from typing import Any

import pytest

from tinkex.actors._runs._store import RunStore
from tinkex.actors._trainer._journal import Journal, Take
from tinkex.protocol import TinkexError


def test_a_new_run_that_another_trainer_adds_at_the_same_moment_is_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = RunStore.add

    def second(store: RunStore, name: str, config: Any) -> None:
        add(store, name, {"added": "by the other one"})
        add(store, name, config)

    monkeypatch.setattr(RunStore, "add", second)
    journal = Journal.start(tmp_path, "r", {})
    assert journal.ask(Take("started")).unwrap().epoch == 1
    journal.stop()
    store = RunStore.open(tmp_path)
    row = store.run("r")
    store.close()
    assert row is not None
    assert row.config == {"added": "by the other one"}


def test_a_name_that_differs_in_case_only_is_still_refused(tmp_path: Path) -> None:
    Journal.start(tmp_path, "r", {}).stop()
    with pytest.raises(TinkexError, match="there is a run 'r'"):
        Journal.start(tmp_path, "R", {})
