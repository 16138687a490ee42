"""kill -9 at any moment of a running load: nothing that was acknowledged is lost, nothing that is listed is half.

``make crash N=200 SEED=7`` runs as many kills as you like; a failure names the seed and the kill.
"""

import asyncio
import hashlib
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from support_engine import Body, Client, Model, datum
from support_zygote import Zygote, zygote

KILLS = int(os.environ.get("TINKEX_KILLS", "30"))
SEED = int(os.environ.get("TINKEX_SEED", "20261124"))
WORKERS = 3
PROBE = [datum("what does it know?")]
LESSON = [datum("the quick brown fox"), datum("jumps over")]
Print = tuple[float, ...]
"""The logprobs of the probe: what the weights are, as a user can see it."""


@dataclass
class Entry:
    """What may stand under a path."""

    contents: set[Print] = field(default_factory=set[Print])
    sure: bool = False
    """Whether the server has said that it is there, and not been asked to delete it."""


@dataclass
class Save:
    """A save that may not have been answered."""

    path: str
    body: Body
    request_id: str | None = None


class Network(httpx.AsyncBaseTransport):
    """The way to the engine, which says when so many requests have gone over it."""

    def __init__(self, fuse: int, blow: Callable[[], None]) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self._fuse = fuse
        self._blow = blow

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._fuse -= 1
        if self._fuse == 0:
            self._blow()
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


class World:
    """What the outside knows about one root, over many engines."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.root = root
        self.rng = rng
        self.book: dict[str, Entry] = {}
        self.resumed: dict[Print, Print] = {}
        """From what the weights were to what they are one step of a resume with optimizer later, by path's content."""
        self.models: list[str] = []
        self.unanswered: list[Save] = []
        self.names = 0

    # What happens before the kill

    async def load(self, client: Client) -> None:
        """Work on several models at once, until the connection is lost."""
        await client.begin()
        results = await asyncio.gather(*(self.work(client) for _ in range(WORKERS)), return_exceptions=True)
        for result in results:
            assert isinstance(result, httpx.TransportError), repr(result)

    async def work(self, client: Client) -> None:
        model = await client.model(seed=self.rng.randrange(100))
        self.models.append(model.model_id)
        mine: list[str] = []
        while True:
            await model.train(LESSON, self.rng.randrange(1, 3))
            known = fingerprint(await model.forward(PROBE))
            act = self.rng.choice(["save", "save", "overwrite", "delete", "copy"])
            if act == "delete" and mine:
                await self.delete(client, mine.pop(self.rng.randrange(len(mine))))
            elif act == "overwrite" and mine:
                await self.save(model, self.rng.choice(mine), known)
            elif act == "copy" and mine:
                await self.copy(client, self.rng.choice(mine))
            else:
                self.names += 1
                path = f"tinker://{model.model_id}/weights/n{self.names}"
                await self.save(model, path, known)
                mine.append(path)

    async def save(self, model: Model, path: str, known: Print) -> None:
        entry = self.book.setdefault(path, Entry())
        entry.contents.add(known)
        body = model.body(path=path.rsplit("/", 1)[1], overwrite=True)
        save = Save(path, body)
        self.unanswered.append(save)
        future = await model.client.post("save_weights", body)
        save.request_id = future["request_id"]
        answer = await model.client.result(future)
        assert answer["path"] == path, answer
        self.unanswered.remove(save)
        entry.contents, entry.sure = {known}, True

    async def copy(self, client: Client, source: str) -> None:
        self.names += 1
        key = f"copy-{self.names}"
        named = hashlib.blake2b(f"\0{key}\0{source}".encode(), digest_size=8).hexdigest()
        path = f"tinker://sess-{named}:train:0/weights/{source.rpartition('/')[2]}"
        entry = self.book.setdefault(path, Entry())
        entry.contents |= self.book[source].contents
        body = {"source_path": source, "destination_project_id": "copies"}
        response = await client.send("copy_weights", body, **{"x-idempotency-key": key})
        assert response.json() == {"tinker_path": path}, response.text
        entry.sure = True

    async def delete(self, client: Client, path: str) -> None:
        self.book[path].sure = False
        response = await client.http.delete(address(path))
        assert response.status_code == 200, response.text
        del self.book[path]

    # What must hold after it

    async def check(self, client: Client) -> None:
        listed = {row["tinker_path"] for row in (await client.get("checkpoints?limit=1000"))["checkpoints"]}
        lost = {path for path, entry in self.book.items() if entry.sure} - listed
        assert not lost, f"acknowledged and not listed: {lost}"
        assert listed <= set(self.book), "listed, and nobody saved it"
        assert len(list((self.root / "checkpoints").iterdir())) == len(listed), "leftovers were not swept"
        await self.check_former_models(client, listed)
        await self.check_repeats(client, listed)
        await client.begin()
        for number, path in enumerate(sorted(listed)):
            await self.check_content(client, number, path)
        for path in set(self.book) - listed:
            del self.book[path]
        await self.thin_out(client)
        await client.post(f"sessions/{client.session_id}/finish", {"reason": {"type": "success"}, "detail": None})

    async def check_former_models(self, client: Client, listed: set[str]) -> None:
        """What lived in memory is gone, and it is said, with the way out."""
        for model_id in self.models:
            run = await client.get(f"training_runs/{model_id}")
            assert run["corrupted"] is True
            body: Body = {"model_id": model_id, "seq_id": 1000, "adam_params": {}}
            sentence = await client.refused("optim_step", body, 410)
            ways_out = {path for path in listed if path.startswith(f"tinker://{model_id}/")} or {"start again"}
            assert any(way in sentence for way in ways_out), sentence
        self.models.clear()

    async def check_repeats(self, client: Client, listed: set[str]) -> None:
        """A save that was committed answers its repeat, by number and by request; one that was not is refused."""
        for save in self.unanswered:
            response = await client.send("save_weights", save.body)
            if response.status_code == 200:
                assert save.path in listed
                assert (await client.result(response.json()))["path"] == save.path
            else:
                assert response.status_code == 410, response.text
            if save.request_id is not None:
                polled = await client.send("retrieve_future", {"request_id": save.request_id})
                assert polled.status_code in {response.status_code, 404}, polled.text
        self.unanswered.clear()

    async def check_content(self, client: Client, number: int, path: str) -> None:
        """It loads; it is one of what was saved there; and it goes on as it always did."""
        body = {"session_id": client.session_id, "model_seq_id": number, "path": path, "optimizer": True}
        model = Model(client, (await client.ok("load_weights", body))["model_id"], seq_id=0)
        known = fingerprint(await model.forward(PROBE))
        entry = self.book[path]
        assert known in entry.contents, f"{path} is nothing that was saved there"
        entry.contents, entry.sure = {known}, True
        await model.train(LESSON, 1)
        after = fingerprint(await model.forward(PROBE))
        assert self.resumed.setdefault(known, after) == after, f"{path} goes on in another way than before"
        await client.ok("unload_model", {"model_id": model.model_id})

    async def thin_out(self, client: Client) -> None:
        for path in self.rng.sample(sorted(self.book), max(0, len(self.book) - 6)):
            await self.delete(client, path)


def fingerprint(answer: Body) -> Print:
    return tuple(value for row in answer["loss_fn_outputs"] for value in row["logprobs"]["data"])


def address(path: str) -> str:
    run, kind, name = path.removeprefix("tinker://").split("/")
    return f"/api/v1/training_runs/{run}/checkpoints/{kind}/{name}"


async def crash(mother: Zygote, world: World) -> None:
    """Load an engine, kill it somewhere, and look at what the next one finds."""
    blown = asyncio.Event()
    by_itself = world.rng.random() < 0.5
    url = await mother.start(world.root, world.rng.randrange(1, 60) if by_itself else 0)
    network = Network(1000 if by_itself else world.rng.randrange(4, 60), blown.set)
    async with httpx.AsyncClient(base_url=url, timeout=60, transport=network) as http:
        working = asyncio.create_task(world.load(Client(http)))
        waiting = asyncio.create_task(blown.wait())
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(world.rng.choice([0.0, 0.0, 0.001, 0.005, 0.02]))  # not to wait: to hit elsewhere
        mother.kill()
        await mother.reap()
        waiting.cancel()
        await working
    url = await mother.start(world.root)
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        await world.check(Client(http))
    mother.kill()
    await mother.reap()


@pytest.mark.timeout(60 + 20 * KILLS)
async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    print(f"SEED={SEED} N={KILLS}")  # noqa: T201 - seen with -s, and where it fails
    async with zygote() as mother:
        world = World(tmp_path / "first", random.Random(SEED))
        for number in range(KILLS):
            rng = random.Random(f"{SEED}:{number}")
            if number % 10 == 0:
                world = World(tmp_path / str(number), rng)
            world.rng = rng
            try:
                await crash(mother, world)
            except AssertionError as error:
                raise AssertionError(f"SEED={SEED}, kill {number}: {error}") from error
