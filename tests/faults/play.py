"""Runs a program against the scripted server, with a plan of faults, in a seeded world; writes down what was seen."""

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import pykka

from faults.network import Delivery, Network
from faults.plan import Fault
from faults.program import Program, Step
from faults.server import RUN, Server
from tinkex.actors import GenRef, GenServer, ServiceClient, Supervisor, TrainingClient
from tinkex.actors._genserver._client import Continue
from tinkex.actors._leases._lease import Lease, LeaseBook
from tinkex.actors._leases._reaper import Reaper
from tinkex.actors._training import _chunks
from tinkex.actors.testing import DeadlockError, SeededScheduler
from tinkex.protocol import AdamParams, Datum, Err, ModelInput, Ok, Result, messages
from tinkex.protocol.replies import ActorStatus

CHUNK: Final = 2
"""Datums in one request, while a program runs."""

PATIENCE: Final = 900.0
"""Seconds after which a caller who set no limit, on a network that is well again, was forgotten."""

SETTLE_SECONDS: Final = 95.0
"""In which releases that failed are tried again."""


@dataclass(eq=False)
class Call:
    """One call of the program and what came of it."""

    number: int
    """Its tag in the bodies on the wire."""

    step: Step
    client: int | None
    """Which client, by the number of the create that made it; None for what the service is asked."""

    asked: float
    reply: Any = None
    result: Result[Any] | None = None
    settled: float | None = None
    mark: int = 0
    """How many deliveries there were when it was answered."""

    ran_out: float | None = None
    """When ``ask(timeout=)`` raised."""

    model_id: str | None = None


@dataclass(eq=False)
class Outcome:
    """What a run showed."""

    program: Program
    server: Server
    network: Network
    calls: list[Call] = field(default_factory=list[Call])
    states: dict[int, str] = field(default_factory=dict[int, str])
    """Of each client that lived until the last stop, what ``Status`` said."""

    owned: dict[int, str | None] = field(default_factory=dict[int, str | None])
    """Their models."""

    hung: list[int] = field(default_factory=list[int])
    unlisted: list[str] = field(default_factory=list[str])
    """Models and sessions that nobody owned, and that Leaks did not list, before the last stop."""

    kept: tuple[int, int, bool] = (0, 0, False)
    """Sessions and models on the server before the last stop, and whether Leaks listed any."""

    stopping: float = 0.0
    """Seconds that the last stop took."""

    actors_left: list[str] = field(default_factory=list[str])
    tasks_left: int = 0
    leases_left: list[Lease] = field(default_factory=list[Lease])
    sessions_left: list[str | None] = field(default_factory=list[str | None])
    trace: list[str] = field(default_factory=list[str])
    trouble: str | None = None
    """What the world itself had to say: a deadlock, a runaway."""


class Service(ServiceClient):
    """A service client that shows its book."""

    books: list[LeaseBook]

    def on_start(self) -> None:
        BOOKS.append(self._book)
        super().on_start()


class Owner(GenServer[Any]):
    """Somebody for whom clients are made."""


BOOKS: Final[list[LeaseBook]] = []


def play(seed: int, program: Program, plan: Sequence[Fault]) -> Outcome:
    """Run ``program`` in the world of ``seed`` with the faults of ``plan``."""
    server = Server(program.latency, program.direct, program.careful)
    network = Network(server, plan)
    BOOKS.clear()
    outcome = Outcome(program, server, network)
    with _small_chunks(), SeededScheduler(seed, http_transport=network, max_turns=100_000) as world:
        network.note = world.note
        try:
            _Player(world, outcome).run()
        except (DeadlockError, RuntimeError) as error:
            outcome.trouble = f"{type(error).__name__}: {error}"
    outcome.trace = world.trace
    return outcome


@contextlib.contextmanager
def _small_chunks() -> Generator[None]:
    before = _chunks.MAX_DATUMS
    _chunks.MAX_DATUMS = CHUNK  # type: ignore[misc]  # pyright: ignore[reportConstantRedefinition]
    try:
        yield
    finally:
        _chunks.MAX_DATUMS = before  # type: ignore[misc]  # pyright: ignore[reportConstantRedefinition]


class _Player:
    def __init__(self, world: SeededScheduler, outcome: Outcome) -> None:
        self._world = world
        self._outcome = outcome
        self._program = outcome.program
        self._network = outcome.network
        self._network.act = self._act
        self._clients: dict[int, tuple[int, GenRef[Any]]] = {}
        self._creating: dict[int, Call] = {}
        self._saved = f"tinker://{RUN}/weights/base"
        self._supervisor = Supervisor.start() if self._program.shared else None
        self._owner = Owner.start()
        self._service = Service.start(
            base_url="http://127.0.0.1:1",
            supervisor=self._supervisor,
            send_timeout=self._program.send_timeout,
            heartbeat_seconds=30.0,
        )

    # The program

    def run(self) -> None:
        for step in self._program.steps:
            self._world.note(f"user: {step}")
            self._step(step)
        self._gather()
        self._look()
        self._end()

    def _step(self, step: Step) -> None:
        match step.verb:
            case "wait":
                for call in self._outcome.calls:
                    self._wait(call, 60.0)
            case "sleep":
                self._world.run_for(step.seconds)
            case "hit":
                _end(self._target(step.target), step.how)
            case "end":
                client = self._client(step.slot)
                if client is not None:
                    _end(client[1], step.how)
            case "leaks":
                self._call(step, None, self._service, messages.Leaks())
            case "create":
                self._create(step)
            case _:
                client = self._client(step.slot)
                if client is not None:
                    self._call(step, client[0], client[1], self._message(step, len(self._outcome.calls) + 1))

    def _create(self, step: Step) -> None:
        owner = self._owner.actor_urn if step.owned and self._owner.is_alive() else None
        message: Any
        if step.source is None:
            message = messages.CreateLoraTrainingClient("m", rank=4, await_timeout=step.await_timeout, owner=owner)
        else:
            message = messages.CreateTrainingClientFromState(
                self._path(step), step.optimizer, await_timeout=step.await_timeout, owner=owner
            )
        if step.drop:
            self._service.ask(message, block=False)
            return
        call = self._call(step, None, self._service, message)
        if call.ran_out is None:
            self._creating[step.slot] = call

    def _path(self, step: Step) -> str:
        return self._saved if step.source == "saved" else f"tinker://{RUN}/weights/{step.source}"

    def _message(self, step: Step, tag: int) -> Any:
        limit = step.await_timeout
        match step.verb:
            case "forward" | "forward_backward":
                data = [
                    Datum(ModelInput.from_ints([tag, row]), {"target_tokens": [row, 1], "weights": [1.0, 1.0]})
                    for row in range(step.rows)
                ]
                kind = messages.Forward if step.verb == "forward" else messages.ForwardBackward
                return kind(data, await_timeout=limit)
            case "optim_step":
                return messages.OptimStep(AdamParams(learning_rate=tag * 1e-6), await_timeout=limit)
            case "save":
                name = "taken" if step.taken else f"s{tag}"
                return messages.SaveState(name, user_metadata={"tag": str(tag)}, await_timeout=limit)
            case "save_sampler":
                return messages.SaveWeightsForSampler(f"p{tag}", await_timeout=limit)
            case "load":
                return messages.LoadState(self._path(step), step.optimizer, step.release_first, await_timeout=limit)
            case "info":
                return messages.GetInfo(await_timeout=limit)
            case _:
                return messages.UnloadModel(await_timeout=limit)

    def _call(self, step: Step, client: int | None, ref: GenRef[Any], message: Any) -> Call:
        call = Call(len(self._outcome.calls) + 1, step, client, self._world.monotonic())
        self._outcome.calls.append(call)
        if step.ask_timeout is not None:
            try:
                self._answered(call, ref.ask(message, timeout=step.ask_timeout))
            except pykka.Timeout:
                call.ran_out = self._world.monotonic()
            return call
        call.reply = ref.ask(message, block=False)
        call.reply.add_done_callback(partial(self._answered, call))
        if step.cancel_after is not None:
            if step.cancel_after > 0.0:
                self._world.clock.call_later(step.cancel_after, call.reply.cancel)
            else:
                call.reply.cancel()
        if step.wait:
            self._wait(call, 60.0)
        return call

    def _answered(self, call: Call, result: Result[Any]) -> None:
        call.result = result
        call.settled = self._world.monotonic()
        call.mark = len(self._network.log)
        said = "Ok" if isinstance(result, Ok) else f"{result.error.kind} {result.error.data.get('outcome', '')}"
        self._world.note(f"user: call {call.number} {call.step.verb} is answered {said}")
        if isinstance(result, Ok) and call.step.verb == "save":
            self._saved = result.value.path

    def _wait(self, call: Call, seconds: float) -> bool:
        if call.reply is None:
            return True
        try:
            call.reply.get(timeout=seconds)
        except pykka.Timeout:
            return False
        return True

    def _client(self, slot: int) -> tuple[int, GenRef[Any]] | None:
        call = self._creating.get(slot)
        if call is not None and self._wait(call, 60.0):
            del self._creating[slot]
            if isinstance(call.result, Ok):
                self._clients[slot] = call.number, call.result.value
            else:
                self._clients.pop(slot, None)
        return self._clients.get(slot)

    def _target(self, target: str) -> GenRef[Any] | None:
        if target == "service":
            return self._service
        if target == "owner":
            return self._owner
        return _latest(Reaper if target == "reaper" else Supervisor)

    # Faults in this process; on the io thread

    def _act(self, kind: str, _delivery: Delivery) -> None:
        if kind == "expire_sessions":
            self._outcome.server.expire()
            return
        if kind == "cancel":
            for call in reversed(self._outcome.calls):
                if call.reply is not None and not call.reply.done():
                    call.reply.cancel()
                    return
            return
        how, _, target = kind.partition("_")
        _end(_latest(TrainingClient) if target == "client" else self._target(target), how)

    # The end

    def _gather(self) -> None:
        late = [call for call in self._outcome.calls if not self._wait(call, PATIENCE)]
        if self._program.heals or late:
            self._network.heal()
        self._outcome.hung = [call.number for call in late if not self._wait(call, PATIENCE)]
        for slot in list(self._creating):
            self._client(slot)

    def _look(self) -> None:
        """See what the clients say of themselves, and what is on the server that nobody owns."""
        outcome = self._outcome
        if self._program.heals:
            self._world.run_for(SETTLE_SECONDS)
        for call in outcome.calls:
            if call.step.verb != "create" or not isinstance(call.result, Ok):
                continue
            number = call.number
            ref: GenRef[Any] = call.result.value
            said: Result[ActorStatus] = ref.ask(messages.Status())
            if isinstance(said, Ok):
                outcome.states[number] = said.value.state
                outcome.owned[number] = said.value.model_id
        leaks = self._service.ask(messages.Leaks())
        sessions, models = outcome.server.alive()
        outcome.kept = len(sessions), len(models), isinstance(leaks, Ok) and bool(leaks.value.leases)
        if isinstance(leaks, Err) or not self._program.heals:
            return
        listed = {lease.model_id for lease in leaks.value.leases} | {lease.session_id for lease in leaks.value.leases}
        outcome.server.sweep(self._world.monotonic())
        for model_id in outcome.server.alive()[1]:
            if model_id not in outcome.owned.values() and not listed & {model_id, model_id.split(":")[0]}:
                outcome.unlisted.append(model_id)

    def _end(self) -> None:
        outcome = self._outcome
        began = self._world.monotonic()
        self._service.stop()
        outcome.stopping = self._world.monotonic() - began
        if self._supervisor is not None:
            self._supervisor.stop()
        self._owner.stop()
        for _ in range(20):
            self._world.run_until_idle()
            if not self._world.io.open_tasks():
                break
            self._world.run_for(30.0)
        outcome.tasks_left = self._world.io.open_tasks()
        outcome.actors_left = [str(ref) for ref in pykka.ActorRegistry.get_all()]
        outcome.leases_left = [lease for book in BOOKS for lease in book.leases()]
        outcome.sessions_left = [session.session_id for book in BOOKS for session in book.sessions()]
        outcome.server.sweep(self._world.monotonic())


def _latest(kind: type[Any]) -> GenRef[Any] | None:
    found: list[Any] = pykka.ActorRegistry.get_by_class(kind)
    return found[-1] if found else None


def _end(ref: GenRef[Any] | None, how: str) -> None:
    if ref is None:
        return
    if how == "crash":
        with contextlib.suppress(pykka.ActorDeadError):
            ref.tell(Continue("a bug", _crash))
    elif how == "kill":
        ref.kill()
    else:
        ref.stop(block=False)


def _crash() -> None:
    raise RuntimeError("a bug, on request")
