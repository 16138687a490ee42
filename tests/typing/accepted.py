"""What a type checker must know about a user's program."""

from typing import assert_type

import pykka

from tinkex.actors import (
    Deferred,
    GenRef,
    GenServer,
    NamedRef,
    Reply,
    ServiceClient,
    ServiceClientRef,
    Supervisor,
    TrainingClientRef,
    named,
    on,
    whereis,
)
from tinkex.protocol import AdamParams, Err, Ok, Request, Result, messages, replies


def service_types(service: ServiceClientRef, training: TrainingClientRef) -> None:
    assert_type(ServiceClient.start(base_url="http://127.0.0.1:1"), ServiceClientRef)
    create = messages.CreateLoraTrainingClient("model")
    assert_type(service.ask(create), Result[TrainingClientRef])
    assert_type(service.ask(create, block=False), Reply[TrainingClientRef])
    assert_type(service.ask(create).unwrap(), TrainingClientRef)
    assert_type(service.ask(messages.ListCheckpoints()), Result[replies.CheckpointList])
    assert_type(service.ask(messages.FinishSession("a")), Result[replies.FinishedSession])
    assert_type(service.proxy().finish_session("a", "why"), Reply[replies.FinishedSession])
    assert_type(training.ask(messages.SaveState("a")), Result[replies.SavedState])
    assert_type(training.ask(messages.SaveState("a"), block=False), Reply[replies.SavedState])
    assert_type(training.ask(messages.SaveState("a"), block=False).get(), Result[replies.SavedState])
    assert_type(training.proxy().optim_step(AdamParams()), Reply[replies.OptimStepOutput])
    assert_type(training.proxy().model_id, pykka.Future[str | Err])


async def awaited(training: TrainingClientRef) -> None:
    assert_type(await training.proxy().save_state("a"), Result[replies.SavedState])
    assert_type(await training.ask(messages.GetInfo(), block=False), Result[replies.ModelInfo])


async def by_name() -> None:
    address = named("trainer", while_down="wait")
    assert_type(address, NamedRef)
    assert_type(address.ask(messages.Status()), Result[replies.ActorStatus])
    assert_type(await address.ask(messages.Status(), block=False), Result[replies.ActorStatus])
    assert_type(address.is_alive(), bool)
    found = whereis("trainer")
    assert found is None or found.vitals().uptime > 0.0
    assert_type(Supervisor.start().proxy().tree(), Reply[replies.SupervisionTree])


class Double(Request[int], frozen=True):
    number: int


class Later(Request[str], frozen=True):
    pass


class Server(GenServer):
    @on(Double)
    def double(self, message: Double) -> Result[int]:
        return Ok(2 * message.number)

    @on(Later)
    def later(self, message: Later) -> Deferred[str]:
        return Deferred()


def own_server(ref: GenRef) -> None:
    assert_type(ref.ask(Double(4)), Result[int])
