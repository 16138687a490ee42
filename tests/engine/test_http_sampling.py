"""Sampling over HTTP: what is drawn, from which weights, and what is refused."""

import asyncio
import math
import sqlite3
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from support_engine import DATA, Body, Client, paused, serving
from support_sampling import PROMPT, Sampler, base_sampler
from tinkex.engine import BUILTIN_MODEL
from tinkex.engine._store._store import Store
from tinkex.protocol import TensorData, wire
from tinkex.protocol.wire.protobuf_sample import decode_sample


async def test_greedy_takes_the_likeliest_token_of_a_forward_pass(tmp_path: Path) -> None:
    """Every logprob is the one that a forward pass of the same weights computes; so are the prompt's."""
    async with serving(tmp_path) as client:
        model = await client.model()
        await model.train(DATA, 2)
        path = await model.save("trained")
        sampler = await Sampler.create(client, model_path=path)
        got = await sampler.sample({"temperature": 0.0, "max_tokens": 6}, prompt_logprobs=True)
        (sequence,) = got["sequences"]
        assert (sequence["stop_reason"], len(sequence["tokens"])) == ("length", 6)
        whole = PROMPT + sequence["tokens"]
        passed = await model.forward([predict(whole)])
        logprobs = passed["loss_fn_outputs"][0]["logprobs"]["data"]
        assert got["prompt_logprobs"][0] is None
        assert got["prompt_logprobs"][1:] == pytest.approx(logprobs[: len(PROMPT) - 1], abs=1e-4)
        assert sequence["logprobs"] == pytest.approx(logprobs[len(PROMPT) - 1 :], abs=1e-4)
        best = await sampler.sample({"temperature": 0.0, "max_tokens": 6}, topk_sample_logprobs=3)
        assert best["sequences"][0]["tokens"] == sequence["tokens"]


def predict(tokens: list[int]) -> Body:
    return {
        "model_input": {"chunks": [{"tokens": tokens[:-1], "type": "encoded_text"}]},
        "loss_fn_inputs": {
            "target_tokens": {"data": tokens[1:], "dtype": "int64"},
            "weights": {"data": [1.0] * (len(tokens) - 1), "dtype": "float32"},
        },
    }


async def test_a_seed_means_the_same_draws_and_each_sample_has_its_own(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        sampler = await base_sampler(client)
        params = {"max_tokens": 40, "seed": 7}
        one, two = [await sampler.sample(params, num_samples=3) for _ in range(2)]
        assert one["sequences"] == two["sequences"]
        drawn = [tuple(sequence["tokens"]) for sequence in one["sequences"]]
        assert len(set(drawn)) == 3
        assert await sampler.tokens({**params, "seed": 8}) == list(drawn[1]), "the second sample has the next seed"
        assert await sampler.tokens({**params, "seed": None}) != await sampler.tokens({**params, "seed": None})


async def test_top_k_and_top_p_narrow_the_draw(tmp_path: Path) -> None:
    """With one candidate left, both are greedy, at any temperature."""
    async with serving(tmp_path) as client:
        sampler = await base_sampler(client)
        greedy = await sampler.tokens({"temperature": 0.0})
        for narrow in ({"top_k": 1}, {"top_p": 1e-9}):
            assert await sampler.tokens({"temperature": 5.0, **narrow}) == greedy
        likeliest = await sampler.sample({"top_k": 2, "temperature": 9.0, "max_tokens": 30}, topk_sample_logprobs=2)
        (sequence,) = likeliest["sequences"]
        tops = [{token for token, _ in row} for row in (await rows_of(client, sampler, sequence))]
        assert all(token in top for token, top in zip(sequence["tokens"], tops, strict=True))


async def rows_of(client: Client, sampler: Sampler, sequence: Body) -> list[list[tuple[int, float]]]:
    """The likeliest two at every place of a sequence, from the prompt's side of the interface."""
    whole = PROMPT + sequence["tokens"]
    got = await sampler.sample({"max_tokens": 1}, whole, topk_prompt_logprobs=2)
    assert got["topk_prompt_logprobs"][0] is None
    rows: list[list[tuple[int, float]]] = got["topk_prompt_logprobs"][len(PROMPT) :]
    return rows


async def test_a_sequence_ends_with_what_stops_it(tmp_path: Path) -> None:
    """Tokens, strings over the borders of tokens, or nothing at all."""
    async with serving(tmp_path) as client:
        sampler = await base_sampler(client)
        free = await sampler.tokens({"max_tokens": 60, "stop": []})
        assert len(free) == 60, "an empty list stops nowhere"
        at = 20
        by_token = (await sampler.sample({"max_tokens": 60, "stop": [free[at]]}))["sequences"][0]
        first = free.index(free[at])
        assert (by_token["stop_reason"], by_token["tokens"]) == ("stop", free[: first + 1])
        found = next(i for i in range(60) if 32 <= free[i] < 127 and 32 <= free[i + 1] < 127)
        text = bytes(free[found : found + 2]).decode()
        for stop in (text, [text], ["never in there", text]):
            by_text = (await sampler.sample({"max_tokens": 60, "stop": stop}))["sequences"][0]
            assert by_text["stop_reason"] == "stop"
            assert by_text["tokens"] == free[: len(by_text["tokens"])]
            assert bytes(token for token in by_text["tokens"] if token < 256).endswith(text.encode())
        ends = [await sampler.tokens({"max_tokens": 400, "seed": seed}) for seed in range(6)]
        assert any(tokens[-1] == 256 and 256 not in tokens[:-1] for tokens in ends), (
            "the end of a text stops by default"
        )


async def test_logprobs_of_given_tokens_at_each_place(tmp_path: Path) -> None:
    """-1 is passed over; the last n leave the rest undefined."""
    async with serving(tmp_path) as client:
        sampler = await base_sampler(client)
        targets = [[token, -1] for token in PROMPT[1:]]
        tensor = {"data": [token for row in targets for token in row], "dtype": "int64", "shape": [len(targets), 2]}
        got = await sampler.sample({"max_tokens": 1}, prompt_logprobs=True, target_prompt_logprobs=tensor)
        found = got["target_prompt_logprobs"]
        assert found["shape"] == [len(targets), 2]
        assert found["data"][0::2] == pytest.approx(got["prompt_logprobs"][1:])
        assert set(found["data"][1::2]) == {0.0}
        last = await sampler.sample({"max_tokens": 1}, prompt_logprobs=True, prompt_logprobs_last_n=3)
        assert last["prompt_logprobs"] == [None] * (len(PROMPT) - 3) + got["prompt_logprobs"][-3:]


async def test_the_result_is_the_same_in_protobuf(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        sampler = await base_sampler(client)
        body = sampler.body(
            prompt_logprobs=True,
            topk_prompt_logprobs=2,
            topk_sample_logprobs=2,
            target_prompt_logprobs={
                "data": PROMPT[1:],
                "dtype": "int64",
                "shape": [len(PROMPT) - 1, 1],
            },
        )
        future = await client.post("asample", body)
        assert future["sample_sequence_ids"] == [f"{sampler.sampler_id}:1:0"]
        plain = wire.decode(httpx.Response(200, json=await client.result(future)).content, wire.SampleResult)
        response = await client.send(
            "retrieve_future", {"request_id": future["request_id"]}, accept="application/x-protobuf"
        )
        assert response.headers["content-type"] == "application/x-protobuf"
        read = decode_sample(response.content)
        assert [one.tokens for one in read.sequences] == [one.tokens for one in plain.sequences]
        assert read.sequences[0].logprobs == pytest.approx(plain.sequences[0].logprobs)
        assert read.prompt_logprobs is not None
        assert plain.prompt_logprobs is not None
        assert (read.prompt_logprobs[0], plain.prompt_logprobs[0]) == (None, None)
        assert read.topk_prompt_logprobs is not None
        assert read.topk_prompt_logprobs[0] is None
        assert isinstance(read.target_prompt_logprobs, TensorData)
        assert read.target_prompt_logprobs.tolist() == pytest.approx(read.prompt_logprobs[1:])


async def test_a_repeat_is_answered_with_the_same_draw(tmp_path: Path) -> None:
    """Also without a seed; another body under the number is refused; numbers reach the highest of an int64."""
    async with serving(tmp_path) as client:
        sampler = await base_sampler(client)
        body = sampler.body({"seed": None, "max_tokens": 30})
        body["seq_id"] = 638_222_123_000_000_000
        one, two = [await client.post("asample", body) for _ in range(2)]
        assert one == two
        assert "was used for another request" in await client.refused("asample", {**body, "num_samples": 2})
        assert "seq_id must be" in await client.refused("asample", {**body, "seq_id": -1})
        again = await client.post(
            "create_sampling_session",
            {"session_id": client.session_id, "sampling_session_seq_id": 0, "base_model": BUILTIN_MODEL},
        )
        assert again["sampling_session_id"] == sampler.sampler_id
        other = {"session_id": client.session_id, "sampling_session_seq_id": 0, "model_path": "tinker://a/weights/b"}
        assert "was used for another request" in await client.refused("create_sampling_session", other)


async def test_weights_without_a_name_are_frozen_when_they_are_saved(tmp_path: Path) -> None:
    """Training goes on beside them; published ones move instead; all are gone with the session."""
    async with serving(tmp_path) as client:
        model = await client.model()
        await model.train(DATA, 1)
        frozen = await client.ok("save_weights_for_sampler", model.body(sampling_session_seq_id=0, kind="snapshot"))
        moving = await client.ok("save_weights_for_sampler", model.body(sampling_session_seq_id=1, kind="inflight"))
        assert set(frozen) == {"sampling_session_id", "type"}
        one, two = (Sampler(client, saved["sampling_session_id"]) for saved in (frozen, moving))
        before = [await scores(one), await scores(two)]
        assert before[0] == before[1]
        await model.train(DATA, 2)
        assert [await scores(one), await scores(two)] == before
        newer = await client.ok("save_weights_for_sampler", model.body(sampling_session_seq_id=2, kind="inflight"))
        assert await scores(one) == before[0]
        assert await scores(two) == await scores(Sampler(client, newer["sampling_session_id"])) != before[1]
        size = (await client.get("healthz"))["sampler_bytes"]
        assert size == 2 * (await client.get("healthz"))["adapter_bytes"] // 4, "two sets of weights, without moments"
        assert "was used before" in await client.refused(
            "save_weights_for_sampler", model.body(sampling_session_seq_id=0)
        )
        described = await client.get(f"sessions/{client.session_id}")
        assert described["sampler_ids"] == [one.sampler_id, two.sampler_id, newer["sampling_session_id"]]
        await client.post(f"sessions/{client.session_id}/finish", {"reason": {"type": "success"}})
        await client.until("sampler_bytes", 0)
        assert "has ended" in await client.refused("asample", one.body(), 410)


async def scores(sampler: Sampler) -> list[float]:
    found: list[float] = (await sampler.sample({"max_tokens": 1}, prompt_logprobs=True))["prompt_logprobs"][1:]
    return found


async def test_a_sampler_outlives_the_checkpoint_that_it_was_made_from(tmp_path: Path) -> None:
    """And samplers of one checkpoint hold its weights once."""
    async with serving(tmp_path) as client:
        model = await client.model()
        saved = await client.ok("save_weights_for_sampler", model.body(path="x"))
        one = await Sampler.create(client, 0, model_path=saved["path"])
        expected = await scores(one)
        two = await Sampler.create(client, 1, model_path=saved["path"], base_model=BUILTIN_MODEL)
        assert await scores(two) == expected
        health = await client.get("healthz")
        assert (health["samplers"], health["sampler_bytes"]) == (2, health["adapter_bytes"] // 4)
        described = await client.get(f"samplers/{one.sampler_id}")
        assert described == {"sampler_id": one.sampler_id, "base_model": BUILTIN_MODEL, "model_path": saved["path"]}
        address = saved["path"].removeprefix("tinker://").replace("/", "/checkpoints/", 1)
        assert (await client.http.delete(f"/api/v1/training_runs/{address}")).status_code == 200
        assert await scores(one) == expected
        missing = {"session_id": client.session_id, "sampling_session_seq_id": 2, "model_path": saved["path"]}
        await client.refused("create_sampling_session", missing, 404)


async def test_clients_of_one_sampler_get_numbers(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        sampler = await base_sampler(client)
        join = {"sampling_session_id": sampler.sampler_id}
        numbers = [(await client.post("join_sampling_session", join))["client_counter"] for _ in range(2)]
        assert numbers == [1, 2]
        await client.refused("join_sampling_session", {"sampling_session_id": "nobody"}, 404)
        assert (await client.http.get("/api/v1/samplers/nobody")).status_code == 404


async def test_max_tokens_ends_with_the_context(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        sampler = await base_sampler(client)
        for wanted in (None, 10**6):
            got = await sampler.sample({"max_tokens": wanted, "stop": []}, list(range(1, 41)) * 51)
            assert len(got["sequences"][0]["tokens"]) == 2048 - 40 * 51
            assert all(math.isfinite(value) for value in got["sequences"][0]["logprobs"])


async def test_a_long_sample_lets_training_through_and_can_be_cancelled(tmp_path: Path) -> None:
    """It is computed in slices: a step that is asked for behind it ends long before it."""
    async with serving(tmp_path) as client:
        model = await client.model()
        sampler = await base_sampler(client)
        body = sampler.body({"max_tokens": 2000, "stop": []}, num_samples=1000)
        long = await client.post("asample", body)
        await model.train(DATA, 2)
        assert long["request_id"] in client.engine.sampling, "it goes on"
        await client.post("cancel_future", {"request_id": long["request_id"]})
        await client.post("cancel_future", {"request_id": "req-unknown"})
        answer = await client.result(long)
        assert "was cancelled by its client" in answer["error"]["message"]
        assert client.engine.sampling == {}


async def test_the_end_of_a_session_ends_its_samples(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        sampler = await base_sampler(client)
        with paused(client.engine):
            futures = [await client.post("asample", sampler.body()) for _ in range(2)]
            await client.post(f"sessions/{client.session_id}/finish", {"reason": {"type": "success"}})
        for future in futures:
            assert "ended" in (await client.result(future))["error"]["message"]
        assert (await client.get("healthz"))["samplers"] == 0


async def test_the_oldest_sampler_makes_room(tmp_path: Path) -> None:
    async with serving(tmp_path, max_samplers=2) as client:
        samplers = [await base_sampler(client, number) for number in range(3)]
        assert "has ended" in await client.refused("asample", samplers[0].body(), 410)
        for sampler in samplers[1:]:
            await sampler.sample()


async def test_weights_that_cannot_be_sampled_from_are_said(tmp_path: Path) -> None:
    """A checkpoint that is damaged."""
    async with serving(tmp_path) as client:
        model = await client.model()
        path = await model.save("x")
        (folder,) = (tmp_path / "checkpoints").iterdir()
        (folder / "adapter_model.safetensors").write_bytes(b"torn")
        sampler = await Sampler.create(client, model_path=path)
        assert "checkpoint is damaged" in (await client.failure("asample", sampler.body()))["message"]


async def test_a_sampler_that_cannot_be_kept_is_refused_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it stays; the same request works once the disk does."""

    def full(_store: Store, _row: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with serving(tmp_path) as client:
        await client.begin()
        body = {"session_id": client.session_id, "sampling_session_seq_id": 0, "base_model": BUILTIN_MODEL}
        with monkeypatch.context() as patch:
            patch.setattr(Store, "put_sampler", full)
            assert "disk is full" in await client.refused("create_sampling_session", body, 503)
        assert (await client.get("healthz"))["samplers"] == 0
        await Sampler(client, (await client.post("create_sampling_session", body))["sampling_session_id"]).sample()


async def test_a_session_that_ends_while_a_sampler_is_made_takes_it_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a request of its own, and by a save of weights without a name."""
    put, gate, entered = Store.put_sampler, threading.Event(), threading.Event()

    def slow(store: Store, row: Any) -> None:
        entered.set()
        assert gate.wait(20)
        put(store, row)

    finish = {"reason": {"type": "success"}}
    async with serving(tmp_path) as client:
        await client.begin()
        monkeypatch.setattr(Store, "put_sampler", slow)
        body = {"session_id": client.session_id, "sampling_session_seq_id": 0, "base_model": BUILTIN_MODEL}
        making = asyncio.create_task(client.refused("create_sampling_session", body, 410))
        await asyncio.to_thread(entered.wait, 20)
        await client.post(f"sessions/{client.session_id}/finish", finish)
        gate.set()
        assert "has ended" in await making

        gate.clear()
        entered.clear()
        await client.begin()
        model = await client.model()
        saving = await client.post("save_weights_for_sampler", model.body(sampling_session_seq_id=0))
        await asyncio.to_thread(entered.wait, 20)
        await client.post(f"sessions/{client.session_id}/finish", finish)
        gate.set()
        await client.result(saving)
        await client.until("sampler_bytes", 0)
        assert (await client.get("healthz"))["samplers"] == 0
