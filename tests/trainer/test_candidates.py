"""Which checkpoint is tried, and for how long: a passing failure never ends a run, a lasting one never holds it up."""

from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._trainer._candidates import Candidates
from tinkex.protocol import Manifest, TinkexError

GONE = TinkexError("gone", kind="api_status", category="user", status=404, data={"step": "checkpoint_info"})
PASSING = TinkexError("down", kind="api_connection", category="unknown")
FAILING = TinkexError("out of memory", kind="request_failed", category="server")
REFUSED = TinkexError("wrong key", kind="api_status", category="user", status=401)


def manifest(update: int) -> Manifest:
    return Manifest(
        run="r", epoch=1, update=update, path=f"tinker://m/weights/{update}", cursor=None, parent=None, fingerprint={}
    )


def manifests(count: int) -> list[Manifest]:
    return [manifest(update) for update in range(count, 0, -1)]


@given(st.integers(1, 5), st.lists(st.sampled_from([GONE, PASSING, FAILING]), max_size=40))
def test_a_run_is_given_up_only_when_all_its_checkpoints_are_gone_for_good(
    count: int, errors: list[TinkexError]
) -> None:
    candidates = Candidates(manifests(count))
    gone = 0
    for error in errors:
        first = candidates.first
        if first is None:
            break
        gone += error is GONE
        follows = candidates.failed(error)
        assert follows in ("again", "older")
        if follows == "older" and candidates.first is not None:
            assert candidates.first.update < first.update
    assert (candidates.first is None) == (gone == count)


def test_one_that_the_server_fails_twice_gives_way_and_is_tried_again_when_none_is_left() -> None:
    candidates = Candidates(manifests(2))
    assert [candidates.failed(FAILING) for _ in range(4)] == ["again", "older", "again", "again"]
    assert candidates.names == ["e00001-u000000002", "e00001-u000000001"]


def test_a_passing_failure_is_waited_out_however_often_it_comes() -> None:
    candidates = Candidates(manifests(2))
    assert {candidates.failed(PASSING) for _ in range(100)} == {"again"}
    assert candidates.names == ["e00001-u000000002", "e00001-u000000001"]


def test_what_speaks_of_the_account_ends_the_run() -> None:
    assert Candidates(manifests(2)).failed(REFUSED) == "fail"
