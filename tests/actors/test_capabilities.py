"""What a server tells of itself: its models, and what the bits of its results depend on."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from support_clients import service
from support_engine_url import engine_url
from support_servers import Scripted, client, reply
from tinkex.protocol import messages


class Telling(Scripted):
    build: Any = None

    def listed(self, path: str) -> httpx.Response:
        if path == "/get_server_capabilities":
            return reply(200, {"supported_models": [{"model_name": "m"}], "build": self.build})
        return super().listed(path)


@pytest.mark.parametrize(
    ("told", "build"),
    [
        ({"torch": "2.6", "threads": "1"}, {"torch": "2.6", "threads": "1"}),
        ({"torch": "2.6", "threads": 1, "flags": ["a"], "nothing": None}, {"torch": "2.6"}),
        ("v1.2-3-gabc", None),
        (7, None),
        ([], None),
        ({}, None),
        (None, None),
    ],
)
def test_the_texts_among_it_are_told_and_another_meaning_of_the_name_harms_nobody(told: Any, build: Any) -> None:
    server = Telling()
    server.build = told
    with client(server) as ref:
        known = ref.ask(messages.GetServerCapabilities()).unwrap()
    assert ([model.model_name for model in known.supported_models], known.build) == (["m"], build)


def test_our_engine_tells_it(tmp_path: Path) -> None:
    with engine_url(tmp_path) as url, service(url) as (ref, _):
        build = ref.ask(messages.GetServerCapabilities()).unwrap().build
        assert build is not None
        assert set(build) == {"engine", "torch", "threads", "device", "cpu"}
        assert build["threads"] == "1"
