"""No connection outlives the io thread, whoever should have closed it."""

import gc
import socket
import threading
import warnings
from typing import Any

import pytest

from tinkex.actors._runtime._io import IoThread
from tinkex.actors._transport._attempt import HttpReply
from tinkex.actors._transport._http import Http
from tinkex.protocol import ApiKey

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Peer:
    """Answers one request, and waits for the end of its connection."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(30.0)
            connection.recv(65536)
            connection.sendall(ANSWER)
            while connection.recv(65536):
                pass
        self.ended.set()


@pytest.mark.one_lane
@pytest.mark.parametrize("lane", ["httpx", "fast"])
def test_what_nobody_closed_is_closed_with_the_loop(lane: str) -> None:
    peer, io = Peer(), IoThread()
    http = Http(peer.url, ApiKey("tml-x"))
    outcomes: list[Any] = []
    done = threading.Event()

    def told(outcome: Any) -> None:
        outcomes.append(outcome.value)
        done.set()

    if lane == "fast":
        io.submit(http.post("/x", b"{}", read_seconds=5.0), told)
    else:
        io.submit(http.exchange("POST", "/x", b"{}", read_seconds=5.0), told)
    assert done.wait(30.0)
    assert isinstance(outcomes[0], HttpReply)
    assert not peer.ended.is_set(), "it is kept for the next request"
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always", ResourceWarning)
        assert io.close()
        del http
        gc.collect()
    assert peer.ended.wait(30.0)
    assert [str(complaint.message) for complaint in complaints] == []
    peer.thread.join()
    peer.listener.close()
