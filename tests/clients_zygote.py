"""A process that has imported the clients and forks one program for each line of JSON.

The program trains, saves, resumes, unloads and stops clients until its fuse is out: so many steps of its HTTP exchanges
from now, counted in the midst of them too, it kills itself with SIGKILL. Each line is answered when it is dead.
"""

import json
import os
import random
import signal
import sys
from typing import Any

import httpx
import numpy as np
import structlog

from tinkex.actors import ServiceClient
from tinkex.actors.testing import runtime
from tinkex.protocol import AdamParams, Datum, ModelInput, messages

LOADED = (np, structlog)  # before the first fork
LESSON = [Datum(ModelInput.from_ints([1, 2, 3]), {"target_tokens": [2, 3, 4], "weights": [1.0, 1.0, 1.0]})]


class Fuse(httpx.AsyncBaseTransport):
    """The network, each step of which burns a little of it."""

    def __init__(self, left: int) -> None:
        self.left = left
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["trace"] = self.burn
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def burn(self, _event: str, _info: dict[str, Any]) -> None:
        self.left -= 1
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def program(url: str, state_dir: str, api_key: str, fuse: int, seed: int) -> None:
    """Use clients until killed."""
    rng = random.Random(seed)
    with runtime(http_transport=Fuse(fuse)):
        service = ServiceClient.start(base_url=url, state_dir=state_dir, api_key=api_key)
        model = service.ask(messages.GetServerCapabilities()).unwrap().supported_models[0].model_name
        first = service.ask(messages.CreateLoraTrainingClient(model, rank=4)).unwrap()
        path = first.ask(messages.SaveState(f"s{seed}", overwrite=True)).unwrap().path
        clients = [first]
        while True:
            act = rng.choice(["create", "resume", "resume", "train", "stop", "kill", "unload"])
            if act == "create":
                made = [
                    service.ask(messages.CreateLoraTrainingClient(model, rank=4), block=False)
                    for _ in range(rng.randrange(1, 4))
                ]
                clients += [reply.get().unwrap() for reply in made]
            elif act == "resume":
                made = [
                    service.ask(messages.CreateTrainingClientFromState(path, optimizer=True), block=False)
                    for _ in range(rng.randrange(1, 4))
                ]
                clients += [reply.get().unwrap() for reply in made]
            elif clients:
                client = clients.pop(rng.randrange(len(clients)))
                if act == "train":
                    client.ask(messages.ForwardBackward(LESSON)).unwrap()
                    client.ask(messages.OptimStep(AdamParams())).unwrap()
                    clients.append(client)
                elif act == "stop":
                    client.stop()
                elif act == "kill":
                    client.kill()
                else:
                    client.ask(messages.UnloadModel()).unwrap()


def main() -> None:
    """Serve lines until there are none."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            program(**order)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps({"pid": child, "signal": os.waitstatus_to_exitcode(status)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
