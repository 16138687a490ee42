"""Point 7: a caller's mistake is answered at the door, and the actor lives."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest
from pykka._envelope import Envelope
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

from support_genserver import Block, Marked, Note, Ping, Probe, error_of, no_actor_left, run_in, settled
from tinkex.actors import GenRef, GenServer, exposed, on
from tinkex.protocol import Err, Ok, Request, Result


class Unknown(Request[int], frozen=True):
    """No actor here handles it."""


@pytest.fixture
def probe() -> Iterator[GenRef]:
    with no_actor_left():
        ref = Probe.start()
        yield ref
        assert ref.ask(Ping(1)) == Ok(1), "it must live"
        ref.stop()


def refused(result: object) -> str:
    """Return the message of a validation error that is the user's."""
    error = error_of(result)
    assert (error.kind, error.category) == ("validation", "user")
    return error.message


@pytest.mark.parametrize("message", [Unknown(), "text", None, 5, object(), Note, Probe])
def test_unknown_message_is_refused(probe: GenRef, message: Any) -> None:
    assert type(message).__name__ in refused(probe.ask(message))
    probe.tell(message)


@pytest.mark.parametrize("fields", [{"await_timeout": 0}, {"await_timeout": "1"}, {"key": "k"}])
def test_invalid_fields_are_refused_before_the_handler(probe: GenRef, fields: dict[str, Any]) -> None:
    name = next(iter(fields))
    assert name in refused(probe.ask(Ping(1, **fields)))
    assert name in refused(probe.ask(Ping(1, **fields), block=False).get())
    probe.tell(Ping(1, **fields))


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"third": 1}), ((1,), {"first": 2})], ids=str
)
def test_arguments_that_do_not_bind_are_refused(probe: GenRef, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert refused(settled(probe.proxy().add(*args, **kwargs))).startswith("add: ")
    probe.proxy().add.defer(*args, **kwargs)
    assert settled(probe.proxy().add(1, second=2)) == 3


def test_wrapped_static_and_instance_callables_bind_too() -> None:
    def wrapping(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> int:
            return function(*args, **kwargs) + 100

        return wrapper

    class Various(Probe):
        def __init__(self) -> None:
            super().__init__()
            self.instance: Callable[[int], int] = lambda number: number + 1
            self.builtin = max

        @wrapping
        def wrapped(self, number: int) -> int:
            return number

        @staticmethod
        def static(number: int) -> int:
            return number

    with no_actor_left():
        proxy = (ref := Various.start()).proxy()
        for name, value in (("wrapped", 101), ("static", 1), ("instance", 2)):
            assert settled(getattr(proxy, name)(1)) == value
            refused(settled(getattr(proxy, name)()))
            refused(settled(getattr(proxy, name)(1, 2)))
        assert settled(proxy.builtin(2, 5)) == 5, "a builtin that does not tell its signature"
        ref.stop()


def _own_names() -> list[str]:
    names = set(dir(GenServer)) | {"actor_urn", "actor_inbox", "actor_stopped", "runtime", "log_"}
    return sorted(names - {"log_"})


@pytest.mark.parametrize("name", _own_names())
def test_what_gen_server_defines_is_out_of_reach(probe: GenRef, name: str) -> None:
    call: Any = ProxyCall((name,), (), {})
    read: Any = ProxyGetAttr((name,))
    refused(probe.ask(call))
    refused(probe.ask(read))
    proxy = probe.proxy()
    if not hasattr(pykka.ActorProxy, name) and name != "actor_ref":
        with pytest.raises(AttributeError):
            getattr(proxy, name)


@pytest.mark.parametrize(
    "path",
    [
        ("_ping",),
        ("_call",),
        ("_private",),
        ("_secret",),
        ("nothing",),
        (),
        ("number", "bit_length"),
        ("add", "__func__"),
        ("__class__",),
    ],
)
def test_private_missing_and_deeper_paths_are_refused(probe: GenRef, path: tuple[str, ...]) -> None:
    call: Any = ProxyCall(path, (), {})
    read: Any = ProxyGetAttr(path)
    refused(probe.ask(call))
    refused(probe.ask(read))


def test_public_attributes_are_read_and_methods_are_not(probe: GenRef) -> None:
    proxy = probe.proxy()
    assert settled(proxy.number) == 7
    read: Any = ProxyGetAttr(("add",))
    assert "call it" in refused(probe.ask(read))
    call: Any = ProxyCall(("number",), (), {})
    refused(probe.ask(call))


def test_assignment_through_any_proxy_raises_in_the_caller(probe: GenRef) -> None:
    for proxy in (probe.proxy(), pykka.ActorProxy(actor_ref=probe)):
        with pytest.raises(AttributeError, match="number"):
            proxy.number = 8
    assert settled(probe.proxy().number) == 7
    setting: Any = ProxySetAttr(("number",), 8)
    for send in (probe.ask, probe.tell):
        with pytest.raises(AttributeError):
            send(setting)
    probe.actor_inbox.put(Envelope(setting))
    assert settled(probe.proxy().number) == 7


def test_plain_pykka_proxy_meets_the_same_door(probe: GenRef) -> None:
    proxy: Any = pykka.ActorProxy(actor_ref=probe)
    assert settled(proxy.add(1)) == 2
    refused(settled(proxy.stop()))
    refused(settled(proxy.post("x")))
    refused(settled(proxy.add()))


def test_class_that_marks_something_exposes_just_that() -> None:
    class Inherits(Marked):
        def also_hidden(self) -> int:
            return 5

    with no_actor_left():
        for cls in (Marked, Inherits):
            ref = cls.start()
            proxy = ref.proxy()
            assert settled(proxy.shown(2)) == 2
            assert settled(proxy.size) == 3
            for name in ("hidden", "secret", "reads", "also_hidden"):
                with pytest.raises(AttributeError):
                    getattr(proxy, name)
                call: Any = ProxyCall((name,), (), {})
                refused(ref.ask(call))
            assert [name for name in dir(proxy) if not name.startswith("_")] == ["actor_ref", "shown", "size"]
            ref.stop()


def test_property_runs_once_for_a_read_and_never_for_a_proxy() -> None:
    actors: list[Marked] = []

    class Known(Marked):
        def on_start(self) -> None:
            actors.append(self)

    with no_actor_left():
        ref = Known.start()
        proxy = ref.proxy()
        assert actors[0].reads == 0
        assert settled(proxy.size) == 3
        assert actors[0].reads == 1
        ref.stop()


def test_handlers_are_reached_by_their_messages_only() -> None:
    class Public(GenServer):
        @on(Ping)
        def ping(self, message: Ping) -> Result[int]:
            return Ok(message.number)

        @exposed
        @on(Block)
        def both(self, message: Block) -> Result[int]:
            return Ok(2)

        def plain(self) -> int:
            return 1

    with no_actor_left():
        ref = Public.start()
        with pytest.raises(AttributeError):
            _ = ref.proxy().ping
        call: Any = ProxyCall(("both",), (None,), {})
        assert ref.ask(call) == Ok(2)
        ref.stop()


def test_handlers_of_a_class_that_marks_nothing_are_hidden_too() -> None:
    class Public(GenServer):
        @on(Ping)
        def ping(self, message: Ping) -> Result[int]:
            return Ok(message.number)

        def plain(self) -> int:
            return 1

    with no_actor_left():
        ref = Public.start()
        proxy = ref.proxy()
        assert settled(proxy.plain()) == 1
        with pytest.raises(AttributeError):
            _ = proxy.ping
        call: Any = ProxyCall(("ping",), (Ping(1),), {})
        refused(ref.ask(call))
        ref.stop()


def test_traversable_members_are_traversed_no_further_than_marked() -> None:
    class Part:
        def __init__(self) -> None:
            self.value = 5
            self._hidden = 6

        def double(self) -> int:
            return 2 * self.value

    class Whole(GenServer):
        def __init__(self) -> None:
            super().__init__()
            self.part = pykka.traversable(Part())
            self.other = Part()

    with no_actor_left():
        ref = Whole.start()
        proxy = ref.proxy()
        assert settled(proxy.part.double()) == 10
        assert settled(proxy.part.value) == 5
        for path in (("part", "_hidden"), ("other", "value"), ("part", "missing"), ("part", "double", "__self__")):
            read: Any = ProxyGetAttr(path)
            refused(ref.ask(read))
        with pytest.raises(AttributeError):
            proxy.part.value = 3
        ref.stop()


def test_handle_checks_like_an_ask_and_handle_call_binds_like_a_proxy() -> None:
    class Calls(Probe):
        def through_handle(self, number: int, **options: Any) -> Any:
            return self.handle(Ping(number, **options))

        def through_call(self, *args: Any, **options: Any) -> Any:
            return self.handle_call(Ping, *args, **options)

    with no_actor_left():
        ref = Calls.start()
        proxy = ref.proxy()
        assert settled(proxy.through_handle(3)) == Ok(3)
        assert "await_timeout" in refused(settled(proxy.through_handle(3, await_timeout=-1)))
        assert settled(proxy.through_call(3)) == Ok(3)
        assert "await_timeout" in refused(settled(proxy.through_call(3, await_timeout=-1)))
        assert "nothing_such" in refused(settled(proxy.through_call(3, nothing_such=1)))
        assert ref.is_alive()
        ref.stop()


def test_on_receive_of_a_subclass_takes_what_no_handler_takes() -> None:
    class Raw(Probe):
        def on_receive(self, message: Any) -> Any:
            return ("raw", message)

    with no_actor_left():
        ref: Any = Raw.start()
        assert ref.ask({"a": 1}) == ("raw", {"a": 1})
        assert ref.ask(Ping(2)) == Ok(2)
        ref.stop()


def test_fields_of_a_subclass_cannot_meet_the_servers_own() -> None:
    own = {name for name in vars(GenServer) if name.startswith("_") and not name.startswith(("__", "_GenServer__"))}
    assert own - {"_abc_impl"} == {
        "_actor_loop_setup",
        "_create_actor_inbox",
        "_create_future",
        "_handle_receive",
        "_start_actor_loop",
    }, "names beside pykka's own must be mangled"
    with no_actor_left():
        ref = Probe.start()
        fields: dict[str, Any] = {}
        run_in(ref, lambda actor: fields.update(actor.__dict__))
        ours = {name for name in fields if name.startswith("_") and not name.startswith("_GenServer__")}
        assert ours == {"_actor_ref", "_secret"}
        ref.stop()


def test_proxied_methods_have_the_classes_signatures_nowhere_hidden() -> None:
    assert inspect.signature(Probe.add).parameters.keys() == {"self", "first", "second"}
    with no_actor_left():
        ref = Probe.start()
        assert "add" in dir(ref.proxy())
        assert "post" not in dir(ref.proxy())
        assert isinstance(settled(ref.proxy().add()), Err)
        ref.stop()
