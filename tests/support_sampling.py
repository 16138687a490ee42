"""A sampling session over plain HTTP, and its numbers."""

from typing import Any

from support_engine import Body, Client
from tinkex.engine import BUILTIN_MODEL

PROMPT = list(b"the quick brown")


class Sampler:
    """A sampling session and its numbers."""

    def __init__(self, client: Client, sampler_id: str) -> None:
        self.client = client
        self.sampler_id = sampler_id
        self._next = 0

    @classmethod
    async def create(cls, client: Client, number: int = 0, **source: str) -> "Sampler":
        body = {"session_id": client.session_id, "sampling_session_seq_id": number, **source}
        answer = await client.post("create_sampling_session", body)
        return cls(client, answer["sampling_session_id"])

    def body(self, params: Body | None = None, prompt: list[int] | None = None, **fields: Any) -> Body:
        self._next += 1
        return {
            "sampling_session_id": self.sampler_id,
            "seq_id": self._next,
            "prompt": {"chunks": [{"tokens": PROMPT if prompt is None else prompt, "type": "encoded_text"}]},
            "sampling_params": {"max_tokens": 4, "seed": 1, **(params or {})},
            **fields,
        }

    async def sample(self, params: Body | None = None, prompt: list[int] | None = None, **fields: Any) -> Body:
        return await self.client.ok("asample", self.body(params, prompt, **fields))

    async def tokens(self, params: Body | None = None, **fields: Any) -> list[int]:
        found: list[int] = (await self.sample(params, **fields))["sequences"][0]["tokens"]
        return found


async def base_sampler(client: Client, number: int = 0) -> Sampler:
    if not client.session_id:
        await client.begin()
    return await Sampler.create(client, number, base_model=BUILTIN_MODEL)
