"""Deletes in two phases: what the run needs is not retired, and what is retired is not restored."""

from pathlib import Path

from support_run_store import RUN, a_manifest, a_store, commit, failure
from tinkex.protocol import manifest_name

name = manifest_name
PATH = "tinker://r/weights/a"


def test_a_delete_that_was_cut_off_is_found_by_the_next_trainer(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, folder):
        store.take(RUN, reason="start")
        for update in (100, 200):
            commit(store, folder, a_manifest(1, update))
        assert store.retire(RUN, 1, name(1, 100), PATH)
        assert store.retire(RUN, 1, name(1, 100), PATH)
        taken = store.take(RUN, reason="takeover")
        assert taken.retired == store.retired(RUN) == {name(1, 100): PATH}
        folder.remove_manifest(name(1, 100))
        store.deleted(RUN, name(1, 100))
        store.deleted(RUN, name(1, 200))  # which nobody retired
        assert store.retired(RUN) == {}
        assert store.retire(RUN, 2, name(1, 100), PATH)
        assert store.retired(RUN) == {}
        assert not store.retire(RUN, 2, name(1, 200), PATH)


def test_what_the_run_goes_on_from_or_restores_or_somebody_pinned_is_not_retired(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, folder):
        store.take(RUN, reason="start")
        for update in (100, 200, 300):
            commit(store, folder, a_manifest(1, update))
        store.pin(RUN, name(1, 100), True)
        assert store.set_restoring(RUN, 1, name(1, 200))
        assert [store.retire(RUN, 1, name(1, update), PATH) for update in (100, 200, 300)] == [False] * 3
        assert store.pins(RUN) == {name(1, 100)}
        store.pin(RUN, name(1, 100), False)
        assert store.set_restoring(RUN, 1, None)
        assert [store.retire(RUN, 1, name(1, update), PATH) for update in (100, 200, 300)] == [True, True, False]


def test_what_is_being_deleted_is_neither_restored_nor_pinned(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, folder):
        store.take(RUN, reason="start")
        for update in (100, 200):
            commit(store, folder, a_manifest(1, update))
        assert store.retire(RUN, 1, name(1, 100), PATH)
        for _ in range(2):  # while it is being deleted, and after that
            for error in (
                failure(store.pin, RUN, name(1, 100), True),
                failure(store.set_restoring, RUN, 1, name(1, 100)),
                failure(store.take, RUN, reason="rollback", latest=name(1, 100)),
                failure(store.move_latest, RUN, 1, name(1, 100)),
            ):
                assert (error.kind, error.category) == ("conflict", "user")
                assert name(1, 100) in str(error)
            store.deleted(RUN, name(1, 100))
        store.pin(RUN, name(1, 100), False)
        taken = store.take(RUN, reason="takeover")
        assert failure(store.fall_back, RUN, 2, name(1, 100)).kind == "conflict"
        assert taken.latest == name(1, 200)


def test_pins_and_renewals_are_of_a_run(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        store.add("other", {})
        store.take(RUN, reason="start")
        store.pin(RUN, name(1, 1), True)
        store.pin(RUN, name(1, 1), True)
        assert store.renew(RUN, 1, name(1, 1), 99.5)
        assert store.renew(RUN, 1, name(1, 2), None)
        assert store.renew(RUN, 1, name(1, 1), 199.5)
        assert store.expiries(RUN) == {name(1, 1): 199.5, name(1, 2): None}
        assert (store.pins("other"), store.expiries("other")) == (set(), {})
        assert failure(store.pin, "nobody", name(1, 1), True).kind == "validation"
        assert failure(store.pin, RUN, "../x", True).kind == "validation"
