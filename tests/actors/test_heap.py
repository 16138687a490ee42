"""Large bodies do not cost their pages again each time. Seen in processes of their own, as a heap has one history."""

import platform
import subprocess
import sys
from unittest.mock import Mock

import pytest

from tinkex.actors._training import _heap

BODIES = """
import resource, threading
from tinkex.actors._training._heap import expect_large

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def rounds(count):
    for _ in range(count):
        held = [bytes([1]) * 2_100_000 for _ in range(3)]
        held.clear()

def work():
    rounds(2)
    before = faults()
    rounds(20)
    print((faults() - before) // 60)

expect_large({size})
thread = threading.Thread(target=work)
thread.start()
thread.join()
work()
"""


def faults_for_each_body(size: int) -> list[int]:
    """Of three bodies of 2.1 MB at a time, in another thread and in the main one; they have 513 pages each."""
    code = BODIES.format(size=size)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other habits")
def test_pages_of_large_bodies_are_kept_once_one_was_sent() -> None:
    assert max(faults_for_each_body(1 << 20)) < 20


def test_small_bodies_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Mock()
    monkeypatch.setattr(_heap, "_free_one", prepared)
    _heap.expect_large(_heap.LARGE_BODY - 1)
    prepared.assert_not_called()
    _heap.expect_large(_heap.LARGE_BODY)
    prepared.assert_called_once_with()
