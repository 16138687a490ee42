"""A run store that was deleted: a run that has checkpoints does not begin again as if it had none."""

from pathlib import Path

import pytest

from support_trainer import Program, config, finish, sequence
from tinkex.actors._runs._folder import RunFolder
from tinkex.protocol import TinkexError


def test_a_run_whose_store_is_gone_is_refused_and_left_as_it_was(url: str, tmp_path: Path) -> None:
    finish(config(tmp_path, url, Program(4)))
    before, names = sequence(tmp_path), RunFolder(tmp_path / "runs", "r").manifest_names()
    for file in (tmp_path / "runs").glob("runs.sqlite3*"):
        file.unlink()
    with pytest.raises(TinkexError) as refused:
        finish(config(tmp_path, url, Program(7)))
    assert refused.value.kind == "resume_refused"
    assert "choose another name" in refused.value.message
    assert (sequence(tmp_path), RunFolder(tmp_path / "runs", "r").manifest_names()) == (before, names)
    assert finish(config(tmp_path, url, Program(2), run="other")).state == "finished"
