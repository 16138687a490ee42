"""The database: whole transactions or none."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from tinkex.engine._base._errors import EngineError
from tinkex.engine._base._layout import LoraSpec
from tinkex.engine._store._database import MIGRATIONS, Database
from tinkex.engine._store._records import CheckpointRow, ModelRow, SamplerRow, SessionRow, timestamp
from tinkex.engine._store._store import Store

LORA = LoraSpec(4, 1, True, True, False)


def checkpoint(name: str, created: float = 1.0, expires: float | None = None, folder: str = "") -> CheckpointRow:
    return CheckpointRow(
        path=f"tinker://run/weights/{name}",
        run_id="run",
        kind="weights",
        owner="o",
        base_model="b",
        lora=LORA,
        has_optimizer=True,
        user_metadata={"k": "v"},
        seq_id=1,
        digest="d",
        request_id=f"req-{name}",
        folder=folder or name,
        size_bytes=5,
        created=created,
        expires=expires,
    )


def test_a_transaction_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    """Neither its rows nor a lock."""
    database = Database(tmp_path / "db")
    insert = "INSERT INTO sessions VALUES ('s', 'o', 1.0, 'active', x'00')"

    def write(count: int) -> None:
        with database.transaction() as change:
            for _ in range(count):
                change.execute(insert)
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            write(1)
        with pytest.raises(sqlite3.IntegrityError):
            write(2)
    assert database.rows("SELECT * FROM sessions") == []
    database.close()


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    """All of them, also after reopening."""
    session = SessionRow("s", "o", 1.0, ["t"], {"k": 1}, "p", "d")
    model = ModelRow("m", "s", "o", "b", LORA, 1.0, 2.0, user_metadata={"k": [1]})
    saved = checkpoint("x")
    for again in (False, True):
        store = Store(tmp_path / "db")
        if not again:
            store.put_session(session)
            store.put_model(model)
            assert store.checkpoints.put(saved) is None
        assert store.session("s") == session
        assert store.model("m") == model
        assert store.checkpoints.get(saved.path, 0.0) == saved
        assert store.checkpoints.of_request("req-x") == saved
        assert store.checkpoints.of_number("run", 1) == saved
        assert store.checkpoints.of_number("run", 2) is None
        assert (store.session("x"), store.model("x"), store.checkpoints.get("x", 0.0)) == (None, None, None)
        store.close()


def test_only_what_lived_in_memory_is_lost(tmp_path: Path) -> None:
    """Ended sessions and unloaded models stay what they were."""
    store = Store(tmp_path / "db")
    for state in ("active", "finished", "expired"):
        row = SessionRow(state, "o", 1.0, [], {})
        store.put_session(row.ended(state, None, None))
    for model_id, model_state in (("live", "live"), ("unloaded", "unloaded")):
        store.put_model(ModelRow(model_id, "s", "o", "b", LORA, 1.0, 1.0))
        store.touch_model(model_id, "live" if model_state == "live" else "unloaded", 7.0)
    store.end_former_process()
    sessions = [store.session(state) for state in ("active", "finished", "expired")]
    assert [row.state for row in sessions if row] == ["lost", "finished", "expired"]
    models = [store.model(model_id) for model_id in ("live", "unloaded")]
    assert [(row.state, row.last_request) for row in models if row] == [("lost", 7.0), ("unloaded", 7.0)]
    store.close()


def test_a_replaced_checkpoint_names_its_old_folder(tmp_path: Path) -> None:
    """So that its files can go."""
    store = Store(tmp_path / "db")
    store.checkpoints.put(checkpoint("x", folder="one"))
    assert store.checkpoints.put(checkpoint("x", folder="two")) == "one"
    assert store.checkpoints.folders() == {"two"}
    store.close()


def test_expiry_counts_to_the_second(tmp_path: Path) -> None:
    """At its time a checkpoint is gone for every question, and can be deleted once."""
    store = Store(tmp_path / "db")
    path = checkpoint("x").path
    store.checkpoints.put(checkpoint("x", expires=10.0))
    store.checkpoints.put(checkpoint("y"))
    assert store.checkpoints.get(path, 9.9) is not None
    assert store.checkpoints.last("run", "weights", 9.9) is not None
    assert store.checkpoints.get(path, 10.0) is None
    assert [row.path for row in store.checkpoints.of_run("run", 10.0)] == [checkpoint("y").path]
    assert not store.checkpoints.set_expiry(path, None, 10.0)
    assert store.checkpoints.delete(path, 10.0) is None
    assert store.checkpoints.delete_expired(9.9) == []
    assert store.checkpoints.delete_expired(10.0) == ["x"]
    assert store.checkpoints.delete_expired(10.0) == []
    store.close()


def test_times_are_rfc_3339() -> None:
    """In UTC."""
    assert timestamp(0.0) == "1970-01-01T00:00:00Z"
    assert timestamp(1.5) == "1970-01-01T00:00:01.500000Z"


def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """Whole or not at all; what was in it is there, and what came later has its default."""
    file = tmp_path / "db"
    old = sqlite3.connect(file)
    old.executescript(f"{MIGRATIONS[0]}PRAGMA user_version=1;")
    row = checkpoint("x")
    values = (row.path, row.run_id, row.kind, row.owner, row.folder, row.created, row.expires, row.seq_id)
    body = msgspec.json.encode({name: value for name, value in msgspec.to_builtins(row).items() if name != "public"})
    old.execute("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, row.request_id, body))
    old.commit()
    old.close()
    for _ in range(2):
        store = Store(file)
        assert store.checkpoints.get(row.path, 0.0) == row
        store.put_sampler(SamplerRow("x", "s", "o", "b"))
        assert store.samplers_of("s") == ["x"]
        store.close()


def test_a_file_that_cannot_be_brought_up_to_date_stays_as_it_is(tmp_path: Path) -> None:
    """A step that fails undoes those before it."""
    file = tmp_path / "db"
    old = sqlite3.connect(file)
    old.executescript(f"{MIGRATIONS[0]}CREATE TABLE samplers (x); PRAGMA user_version=1;")
    before = list(old.iterdump())
    with pytest.raises(EngineError, match="cannot be opened"):
        Store(file)
    assert list(old.iterdump()) == before
    assert old.execute("PRAGMA user_version").fetchone()[0] == 1
    old.close()
