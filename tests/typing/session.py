"""The session that a newcomer reads first, as a program: run against an engine, and checked strictly as it stands."""

import asyncio
import sys

from tinkex.actors import ServiceClient, TrainingClientRef
from tinkex.protocol import AdamParams, Datum, Err, ModelInput, Ok, messages


def data() -> list[Datum]:
    tokens = list(b"to be or not to be")
    inputs = ModelInput.from_ints(tokens[:-1])
    return [Datum(inputs, {"target_tokens": tokens[1:], "weights": [1.0] * (len(tokens) - 1)})]


def saved_path(training: TrainingClientRef) -> str:
    match training.ask(messages.SaveState("checkpoint-001")):
        case Ok(saved):
            return saved.path
        case Err(error):
            print(error.kind, error.category, error.status, error.retry_after)
            raise error


async def from_asyncio(training: TrainingClientRef) -> str:
    client = training.proxy()
    return (await client.save_state("checkpoint-003")).unwrap().path


def main(base_url: str) -> None:
    service = ServiceClient.start(base_url=base_url, api_key="tml-local")  # a ref, at once, no I/O
    base_model = service.ask(messages.GetServerCapabilities()).unwrap().supported_models[0].model_name
    made = service.ask(messages.CreateLoraTrainingClient(base_model=base_model, rank=8))  # Ok(ref) | Err(TinkexError)
    training = made.unwrap()  # raises the TinkexError of an Err
    training.ask(messages.ForwardBackward(data())).unwrap()
    reply = training.ask(messages.OptimStep(AdamParams(learning_rate=1e-4)), block=False)  # pipelined
    reply.get(timeout=60.0).unwrap()
    path = saved_path(training)
    client = training.proxy()
    client.save_state("checkpoint-002").get().unwrap()  # the same through an ActorProxy
    print(client.model_id.get(), asyncio.run(from_asyncio(training)))
    restored = service.ask(messages.CreateTrainingClientFromState(path, optimizer=True)).unwrap()
    print(restored.ask(messages.GetInfo()).unwrap().lora_rank)
    again = service.proxy().create_training_client_from_state_with_optimizer(path).get().unwrap()
    print(again.ask(messages.GetInfo()).unwrap().model_id)
    service.stop()  # ordered: children first, session finished


if __name__ == "__main__":
    main(sys.argv[1])
