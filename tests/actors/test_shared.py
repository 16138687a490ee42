"""What users of one runtime share: made once, freed with the last, and never inherited by a forked child."""

import os
import threading

import pytest

from tinkex.actors._runtime._shared import Shared


def test_it_is_made_once_for_all_who_join_and_anew_when_all_have_left() -> None:
    shared = Shared()
    first, second = shared.join("a", object), shared.join("a", object)
    assert first is second
    assert shared.join("b", object) is not first
    shared.leave("a", first)
    assert shared.join("a", object) is first
    shared.leave("a", first)
    shared.leave("a", first)
    assert len(shared) == 1
    assert shared.join("a", object) is not first


def test_a_late_leave_does_not_free_what_others_share_now() -> None:
    shared = Shared()
    old = shared.join("a", object)
    shared.leave("a", old)
    new = shared.join("a", object)
    shared.leave("a", old)
    assert shared.join("a", object) is new


def test_many_threads_that_join_at_once_get_the_same() -> None:
    shared = Shared()
    ready = threading.Barrier(16)
    got: list[object] = []

    def work() -> None:
        ready.wait()
        got.append(shared.join("a", object))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, got))) == 1
    for thing in got:
        shared.leave("a", thing)
    assert len(shared) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_shares_nothing_with_its_parent() -> None:
    shared = Shared()
    mine = shared.join("a", object)
    child = os.fork()
    if child == 0:
        shared.leave("a", mine)
        os._exit(0 if len(shared) == 0 and shared.join("a", object) is not mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert shared.join("a", object) is mine
