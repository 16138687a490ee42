"""What is leaned on in pykka, frozen: these tests fail when it changes, before anything subtle does."""

import hashlib
import inspect
import operator
from importlib.metadata import version
from typing import Any

import pykka
import pytest
from pykka import messages
from pykka._envelope import Envelope

FROZEN: dict[str, str] = {
    "Actor._actor_loop": "961c1b2b624061fa",
    "Actor._actor_loop_setup": "2687bc3726569305",
    "Actor._actor_loop_running": "4109f316d2be434e",
    "Actor._actor_loop_teardown": "1b35ca263372af74",
    "Actor._handle_receive": "2851d2852985bbb5",
    "Actor._handle_failure": "e0d63e0c57e4cbca",
    "Actor._stop": "1d3216e9851326ac",
    "Actor.stop": "dfb9f466f6307486",
    "Actor.start": "12512ec1f277436c",
    "Actor.__init__": "bf2a25172af23b0c",
    "ActorRef.__init__": "4b0b19efac41522e",
    "ActorRegistry.register": "9d29b0f0761d1bf0",
    "ActorRegistry.unregister": "9c2e36de77cfea32",
    "ActorRegistry.stop_all": "cdd4f3a2c01b20c2",
    "ActorProxy.__init__": "54c4dfead2df8b30",
    "ActorProxy.__getattr__": "7a1f9ef707deb48b",
    "ActorProxy.__setattr__": "884ba8264c6e22d3",
    "CallableProxy.__call__": "42595c4329a43735",
    "CallableProxy.defer": "db2ee4cc3c09e2f2",
    "Envelope": "8359815d99fbc784",
}
"""Digests of the source of 4.5.0."""


def digest(thing: Any) -> str:
    """Return what changes when the source does."""
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:16]


def test_version_is_the_one_that_was_read() -> None:
    assert version("pykka").startswith("4.5.")


@pytest.mark.parametrize("name", FROZEN)
def test_code_that_is_leaned_on_is_the_code_that_was_read(name: str) -> None:
    thing: Any = Envelope if name == "Envelope" else operator.attrgetter(name)(pykka)
    assert digest(thing) == FROZEN[name]


def test_messages_have_the_shape_that_is_leaned_on() -> None:
    assert messages.ProxyCall._fields == ("attr_path", "args", "kwargs")
    assert messages.ProxyGetAttr._fields == ("attr_path",)
    assert messages.ProxySetAttr._fields == ("attr_path", "value")
    assert messages._ActorStop._fields == ()


def test_futures_derive_by_the_methods_that_are_overridden() -> None:
    public = {name for name in vars(pykka.Future) if not name.startswith("_")}
    assert public == {"filter", "get", "join", "map", "reduce", "set", "set_exception", "set_get_hook"}


def test_extension_points_are_where_they_were() -> None:
    for name in ("_create_actor_inbox", "_create_future", "_start_actor_loop"):
        assert name in vars(pykka.ThreadingActor)
    assert not hasattr(pykka.Actor, "_actor_loop_cleanup")
