"""A supervisor against a model of OTP's rules, over random histories of starts, ends and requests."""

from dataclasses import dataclass
from typing import Any, cast

import pykka
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support_clients import eventually
from tinkex.actors import ChildSpec, GenRef, GenServer, Reply, Supervisor, named, on, whereis
from tinkex.actors.testing import VirtualClock, runtime
from tinkex.protocol import Err, Ok, Request, Result, messages

STRATEGIES = ["one_for_one", "one_for_all", "rest_for_one"]


class Crash(Request[None], frozen=True):
    pass


class Note(Request[int], frozen=True):
    number: int


class Worker(GenServer[Any]):
    """Notes numbers, which must come in order."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -1

    @on(Note)
    def _note(self, message: Note) -> Result[int]:
        assert message.number > self._last
        self._last = message.number
        return Ok(message.number)

    @on(Crash)
    def _crash(self, message: Crash) -> Result[None]:
        raise RuntimeError("boom")


@dataclass
class Model:
    """What OTP would have of one child."""

    restart: str
    alive: bool = True
    restarts: int = 0


class Machine(RuleBasedStateMachine):
    """Every step is followed until the supervisor is at rest; then it must be as the model is."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.world = runtime(clock=self.clock)
        self.world.__enter__()
        self.waiting: list[tuple[str, int, Reply[int]]] = []
        self.sent = 0
        self.model: dict[str, Model] = {}
        self.count = 0

    @initialize(strategy=st.sampled_from(STRATEGIES))
    def begin(self, strategy: Any) -> None:
        self.strategy = strategy
        self.supervisor: GenRef[Any] = Supervisor.start(strategy=strategy, max_restarts=10**6)

    def teardown(self) -> None:
        if hasattr(self, "supervisor"):
            self.supervisor.stop(timeout=20)
            assert pykka.ActorRegistry.get_by_class(Worker) == []
        self.world.__exit__(None, None, None)

    @precondition(lambda self: len(self.model) < 5)
    @rule(restart=st.sampled_from(["permanent", "transient", "temporary"]))
    def start(self, restart: Any) -> None:
        self.count += 1
        name = f"c{self.count}"
        spec = ChildSpec(name, Worker, restart=restart, name=name)
        assert self.supervisor.ask(messages.StartChild(spec)).is_ok
        self.model[name] = Model(restart)

    @precondition(lambda self: any(child.alive for child in self.model.values()))
    @rule(data=st.data())
    def start_with_a_name_in_use(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name, child in self.model.items() if child.alive]))
        refused = self.supervisor.ask(messages.StartChild(ChildSpec("other", Worker, name=name)))
        assert isinstance(refused, Err)
        assert refused.error.kind == "conflict"

    def send(self, name: str) -> None:
        """Send to whoever bears a name, be it down just now: at rest, the model says how that is answered."""
        for _ in range(2):
            self.sent += 1
            reply = named(name, while_down="wait").ask(Note(self.sent), block=False)
            self.waiting.append((name, self.sent, reply))

    @precondition(lambda self: any(child.alive for child in self.model.values()))
    @rule(data=st.data(), how=st.sampled_from(["crash", "kill", "stop"]))
    def end(self, data: st.DataObject, how: str) -> None:
        name = data.draw(st.sampled_from([name for name, child in self.model.items() if child.alive]))
        ref = self.ref(name)
        if how == "crash":
            ref.ask(Crash())
        elif how == "kill":
            ref.kill()
        else:
            ref.stop()
        self.send(name)
        child = self.model[name]
        child.alive = False
        if child.restart == "permanent" or (child.restart == "transient" and how != "stop"):
            self.restarted(name)
        elif child.restart == "temporary":
            del self.model[name]

    def restarted(self, name: str) -> None:
        order = list(self.model)
        group = {"one_for_one": [name], "one_for_all": order, "rest_for_one": order[order.index(name) :]}
        for one in group[self.strategy]:
            child = self.model[one]
            if child.restart == "temporary":
                del self.model[one]
            else:
                child.alive, child.restarts = True, child.restarts + 1

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def terminate(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.model)))
        assert self.supervisor.ask(messages.TerminateChild(name)).is_ok
        self.send(name)
        self.model[name].alive = False
        if self.model[name].restart == "temporary":
            del self.model[name]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.model)))
        answer = self.supervisor.ask(messages.RestartChild(name))
        assert answer.is_ok == (not self.model[name].alive)
        self.model[name].alive = True

    @invariant()
    def at_rest_it_is_as_the_model_is(self) -> None:
        if not hasattr(self, "supervisor"):
            return
        expected = [(name, child.alive, child.restarts) for name, child in self.model.items()]
        eventually(lambda: self.found() == expected)
        for name, child in self.model.items():
            assert (whereis(name) is not None) == child.alive
        waiting, self.waiting = self.waiting, []
        for name, number, reply in waiting:
            answer = reply.get(timeout=20)
            if name in self.model and self.model[name].alive:
                assert answer == Ok(number)
            else:
                assert isinstance(answer, Err)
                assert answer.error.kind == "actor_dead"

    def found(self) -> list[tuple[str, bool, int]]:
        self.clock.advance(10.0)
        listed = self.supervisor.ask(messages.WhichChildren()).unwrap().children
        return [(child.id, child.alive, child.restarts) for child in listed]

    def ref(self, name: str) -> GenRef[Any]:
        listed = {child.id: child for child in self.supervisor.ask(messages.WhichChildren()).unwrap().children}
        urn = listed[name].actor_urn
        assert urn is not None
        found: Any = pykka.ActorRegistry.get_by_urn(urn)
        return cast("GenRef[Any]", found)


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None, phases=[Phase.generate])
"""Without shrinking: each failure waits for what does not come."""
TestSupervisor = Machine.TestCase
