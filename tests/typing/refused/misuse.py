"""Every line marked as an error must be one to both type checkers."""

from tinkex.actors import GenServer, ServiceClientRef, TrainingClientRef, on
from tinkex.protocol import Ok, Request, Result, messages


class Step(Request[int], frozen=True):
    pass


class WrongResult(GenServer):
    @on(Step)  # error
    def step(self, message: Step) -> Result[str]:
        return Ok("no number")


def misuse(service: ServiceClientRef, training: TrainingClientRef) -> None:
    training.ask("save_state")  # error
    training.ask(messages.SaveState(7))  # error
    training.proxy().save_sate("a")  # error
    training.proxy().save_state("a").get().path  # error
    service.ask(messages.CreateLoraTrainingClient("model")).ask(messages.GetInfo())  # error
    number: int = training.ask(messages.SaveState("a")).unwrap()  # error
    print(number)
