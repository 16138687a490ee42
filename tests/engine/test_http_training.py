"""Numbered requests over HTTP: in order, once, and what a failure leaves behind."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support_engine import DATA, TEXTS, Body, Clock, Model, datum, serving
from tinkex.engine._service import _upkeep


def logprobs(answer: Body) -> list[list[float]]:
    return [outputs["logprobs"]["data"] for outputs in answer["loss_fn_outputs"]]


OVERFLOW = datum("ab", logprobs=[-500.0], advantages=[1.0])


async def test_training_lowers_the_loss(tmp_path: Path) -> None:
    """Steps of forward_backward and optim_step teach the adapter the data."""
    async with serving(tmp_path) as client:
        model = await client.model()
        first = (await model.forward_backward(DATA))["metrics"]["loss:sum"]
        await model.step()
        await model.train(DATA, 5)
        assert (await model.forward(DATA))["metrics"]["loss:sum"] < first / 2


async def test_a_pass_answers_logprobs_for_each_datum_and_their_sum(tmp_path: Path) -> None:
    """float32 of the targets' shape; the loss is the sum over all tokens; one colon in each metric."""
    async with serving(tmp_path) as client:
        model = await client.model()
        answer = await model.forward_backward(DATA)
        assert answer["loss_fn_output_type"] == "TorchLossReturn"
        outputs = [outputs["logprobs"] for outputs in answer["loss_fn_outputs"]]
        assert [o["shape"] for o in outputs] == [[len(text) - 1] for text in TEXTS]
        assert {o["dtype"] for o in outputs} == {"float32"}
        assert answer["metrics"]["loss:sum"] == pytest.approx(-sum(map(sum, logprobs(answer))), rel=1e-6)
        step = await model.step()
        assert step["type"] == "optim_step"
        assert step["metrics"]["step:max"] == 1.0
        assert all(name.count(":") == 1 for name in (*answer["metrics"], *step["metrics"]))


@pytest.mark.parametrize("loss_fn", ["importance_sampling", "ppo"])
async def test_policy_losses_run_end_to_end(tmp_path: Path, loss_fn: str) -> None:
    """At the sampler's own logprobs the ratio is 1, so the loss is minus the sum of the advantages."""
    async with serving(tmp_path) as client:
        model = await client.model()
        own = logprobs(await model.forward([datum("hello")]))[0]
        config = {"clip_low_threshold": 0.9, "clip_high_threshold": 1.1} if loss_fn == "ppo" else {}
        item = datum("hello", logprobs=own, advantages=[1.0, 2.0, -1.0, 0.5], weights=[1.0, 1.0, 1.0, 0.0])
        answer = await model.forward_backward([item], loss_fn, **config)
        assert answer["metrics"]["loss:sum"] == pytest.approx(-2.0, abs=1e-5)


async def test_chunks_arriving_out_of_order_train_the_same_bits(tmp_path: Path) -> None:
    """First chunk last, polls for the later ones before it has come: all bits are those of one pass."""
    async with serving(tmp_path) as client:
        whole, cut = await client.model(), await client.model()
        expected = await whole.forward_backward(DATA)
        bodies = [cut.pass_body(DATA[:2]), cut.pass_body(DATA[2:3]), cut.pass_body(DATA[3:])]
        late = [await client.post("forward_backward", body) for body in bodies[1:]]
        polls = [asyncio.create_task(client.result(future)) for future in late]
        await asyncio.sleep(0)
        first = await client.ok("forward_backward", bodies[0])
        answers = [first, *await asyncio.gather(*polls)]
        assert [row for answer in answers for row in logprobs(answer)] == logprobs(expected)
        await whole.step()
        await cut.step()
        assert await whole.forward(DATA) == await cut.forward(DATA)


async def test_a_repeat_gets_the_same_request_and_runs_once(tmp_path: Path) -> None:
    """Also when the repeats come at the same time, before and after the result."""
    async with serving(tmp_path) as client:
        model, twin = await client.model(), await client.model()
        await twin.forward_backward(DATA)
        body = model.pass_body(DATA)
        futures = await asyncio.gather(*(client.post("forward_backward", body) for _ in range(5)))
        result = await client.result(futures[0])
        futures.append(await client.post("forward_backward", body))
        assert len({future["request_id"] for future in futures}) == 1
        assert await client.result(futures[-1]) == result
        assert (await model.step())["metrics"] == (await twin.step())["metrics"]


async def test_a_number_never_carries_two_bodies(tmp_path: Path) -> None:
    """Another body, or another operation, under a used number is a 400 and changes nothing."""
    async with serving(tmp_path) as client:
        model = await client.model()
        body = model.pass_body(DATA)
        await client.post("forward_backward", body)
        changed = {**body, "forward_backward_input": {"data": DATA[:1], "loss_fn": "cross_entropy"}}
        assert "was used for another request" in await client.refused("forward_backward", changed)
        step: Body = {"model_id": model.model_id, "seq_id": 1, "adam_params": {}}
        assert "was used for another request" in await client.refused("optim_step", step)
        await model.step()


async def test_a_refused_number_is_no_gap(tmp_path: Path) -> None:
    """The next request takes it."""
    async with serving(tmp_path) as client:
        model = await client.model()
        await client.refused("forward_backward", model.pass_body([]))
        model.seq_id -= 1
        await model.forward_backward(DATA)


async def test_a_later_number_passes_a_refused_one(tmp_path: Path) -> None:
    """Whatever was wrong with it: clients of other makes do not use it again."""
    async with serving(tmp_path) as client:
        model = await client.model()
        await client.refused("forward_backward", model.pass_body([]))
        await client.refused("forward_backward", {**model.pass_body(DATA), "forward_backward_input": 7})
        await client.refused("optim_step", model.body(adam_params={"learning_rate": -1}))
        await client.refused("save_weights", model.body(path="a/b"))
        unread = model.body(adam_params=3)
        await client.refused("optim_step", unread)
        await model.forward_backward(DATA)
        await model.step()
        assert "comes too late" in await client.refused("optim_step", {**unread, "adam_params": {}})


async def test_a_refusal_of_what_cannot_be_read_or_found_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        model = await client.model()
        await client.refused("optim_step", {"seq_id": "one"})
        await client.refused("optim_step", {"model_id": "nobody", "seq_id": 1, "adam_params": 3})
        await model.forward_backward(DATA)


async def test_a_bad_chunk_fails_its_call_and_leaves_nobody_waiting(tmp_path: Path) -> None:
    """Also where it is the first one, which comes last: nothing goes on with the gradients of half a call."""
    for bad in (0, 1):
        async with serving(tmp_path / str(bad)) as client:
            model = await client.model()
            bodies = [model.pass_body([] if number == bad else DATA) for number in range(3)]
            later = [await client.post("forward_backward", body) for body in bodies[1:]]
            answers = [await client.result(await client.post("forward_backward", bodies[0]))]
            answers += [await client.result(future) for future in later]
            assert ["data" in str(answer.get("error")) for answer in answers] == [number == bad for number in range(3)]
            error = await client.failure("optim_step", model.body(adam_params={}))
            assert f"forward_backward (number {bad + 1})" in error["message"]


async def test_a_gap_fails_explicitly_after_its_deadline(tmp_path: Path) -> None:
    """What was held behind it fails and names it; the number itself is too late then; steps and saves stay refused."""
    clock = Clock()
    async with serving(tmp_path, clock, gap_timeout=100.0, session_timeout=1e6) as client:
        model = await client.model()
        missing = model.pass_body(DATA)
        held = [await client.post("forward_backward", model.pass_body(DATA)) for _ in range(2)]
        clock.now += 99.0
        await _upkeep.sweep(client.engine)
        assert (await client.get("healthz"))["models"] == 1
        clock.now += 1.0
        await _upkeep.sweep(client.engine)
        for number, future in enumerate(held, 2):
            answer = await client.result(future)
            assert answer["category"] == "user"
            assert f"forward_backward (number {number}) did not run: number 1 of model" in answer["error"]["message"]
        assert "comes too late" in await client.refused("forward_backward", missing)
        await model.forward_backward(DATA)
        error = await client.failure("optim_step", model.body(adam_params={}))
        assert "number 1 of model" in error["message"]


async def test_a_gap_of_several_numbers_names_them(tmp_path: Path) -> None:
    """From the first to the last."""
    clock = Clock()
    async with serving(tmp_path, clock, session_timeout=1e6) as client:
        model = await client.model()
        model.seq_id = 3
        future = await client.post("optim_step", model.body(adam_params={}))
        clock.now += 1000.0
        await _upkeep.sweep(client.engine)
        assert "number 1 to 3 of model" in (await client.result(future))["error"]["message"]


async def test_numbers_far_ahead_are_refused(tmp_path: Path) -> None:
    """They could only wait."""
    async with serving(tmp_path) as client:
        model = await client.model()
        model.seq_id = 5000
        assert "too far ahead" in await client.refused("optim_step", model.body(adam_params={}))


async def test_a_failed_backward_poisons_steps_and_saves_behind_it(tmp_path: Path) -> None:
    """Pipelined or later; the error names what failed; other models go on."""
    async with serving(tmp_path) as client:
        model, other = await client.model(), await client.model()
        bad = await client.post("forward_backward", model.pass_body([OVERFLOW], "importance_sampling"))
        step = await client.post("optim_step", model.body(adam_params={}))
        first = await client.result(bad)
        assert first["category"] == "user"
        assert "importance_sampling loss of data[0] is -inf" in first["error"]["message"]
        for future in (
            step,
            await client.post("optim_step", model.body(adam_params={})),
            await client.post("save_weights", model.body(path="x")),
            await client.post("save_weights_for_sampler", model.body(path="x")),
        ):
            answer = await client.result(future)
            assert answer["category"] == "user"
            assert "because forward_backward (number 1) failed: the importance_sampling" in answer["error"]["message"]
        await model.forward(DATA)
        assert (await client.get("checkpoints"))["checkpoints"] == []
        await other.train(DATA, 1)
        await other.save("x")


async def test_a_step_that_destroys_the_weights_poisons(tmp_path: Path) -> None:
    """What it leaves cannot be saved as if it were fine."""
    async with serving(tmp_path) as client:
        model = await client.model()
        await model.step(learning_rate=1e18, weight_decay=1e18)
        huge = {"learning_rate": 1e18, "weight_decay": 1e18}
        error = await client.failure("optim_step", model.body(adam_params=huge))
        assert "step 2 made weights NaN or infinite" in error["message"]
        error = await client.failure("save_weights", model.body(path="x"))
        assert "because optim_step (number 2) failed: step 2 made" in error["message"]


async def test_many_models_side_by_side_do_not_touch_each_other(tmp_path: Path) -> None:
    """Eight models trained at once end with the bits of one trained alone, whatever their rank."""

    async def trained(model: Model, data: list[Body]) -> Any:
        await model.train(data, 2)
        return logprobs(await model.forward(DATA))

    async with serving(tmp_path) as client:
        models = [await client.model(seed=3, rank=1 + i % 3) for i in range(6)]
        data = [DATA[i % 3 : i % 3 + 2] for i in range(6)]
        together = await asyncio.gather(*(trained(m, d) for m, d in zip(models, data, strict=True)))
        for i in range(3):
            alone = await trained(await client.model(seed=3, rank=1 + i), data[i])
            assert together[i] == together[i + 3] == alone


async def test_pending_polls_are_told_to_try_again_with_all_keys(tmp_path: Path) -> None:
    """And are counted while they wait."""
    async with serving(tmp_path, long_poll=0.05) as client:
        model = await client.model()
        model.seq_id = 1
        future = await client.post("optim_step", model.body(adam_params={}))
        poll = asyncio.create_task(client.post("retrieve_future", future))
        await client.until("polls", 1)
        assert await poll == {"type": "try_again", "request_id": future["request_id"], "queue_state": "active"}
        assert (await client.get("healthz"))["polls"] == 0


async def test_unknown_results_are_not_found(tmp_path: Path) -> None:
    """404, as for a result that is not kept any more."""
    async with serving(tmp_path) as client:
        assert "unknown request" in await client.refused("retrieve_future", {"request_id": "req-x"}, 404)


async def test_a_step_without_gradients_is_taken(tmp_path: Path) -> None:
    """With zeros, as the protocol's other servers do."""
    async with serving(tmp_path) as client:
        model = await client.model()
        assert (await model.step())["metrics"] == {"grad_norm:max": 0.0, "step:max": 1.0}


async def test_several_targets_at_each_place(tmp_path: Path) -> None:
    """The logprobs have their shape, the loss is the sum over all; in JSON they may come sparse."""
    async with serving(tmp_path) as client:
        model = await client.model()
        tokens = [10, 20, 30]
        chunks: Body = {"chunks": [{"tokens": tokens, "type": "encoded_text"}]}

        def several(targets: Body, weights: Body) -> list[Body]:
            return [{"model_input": chunks, "loss_fn_inputs": {"target_tokens": targets, "weights": weights}}]

        dense = several(
            {"data": [7, 0, 0, 8, 9, 0], "dtype": "int64", "shape": [3, 2]},
            {"data": [0.5, 0.0, 0.0, 2.0, -1.0, 0.0], "dtype": "float32", "shape": [3, 2]},
        )
        places: Body = {"shape": [3, 2], "sparse_crow_indices": [0, 1, 2, 3], "sparse_col_indices": [0, 1, 0]}
        sparse = several(
            {"data": [7, 8, 9], "dtype": "int64", **places}, {"data": [0.5, 2.0, -1.0], "dtype": "float32", **places}
        )
        got = await model.forward_backward(dense)
        again = await model.forward(sparse)
        assert again == got
        found = got["loss_fn_outputs"][0]["logprobs"]
        assert found["shape"] == [3, 2]
        singles = [await model.forward(several(*single(column))) for column in (0, 1)]
        for column, alone in enumerate(singles):
            assert alone["loss_fn_outputs"][0]["logprobs"]["data"] == found["data"][column::2]
        expected = -(0.5 * found["data"][0] + 2.0 * found["data"][3] - found["data"][4])
        assert got["metrics"]["loss:sum"] == pytest.approx(expected, rel=1e-5)
        assert (await model.step())["metrics"]["grad_norm:max"] > 0.0


def single(column: int) -> tuple[Body, Body]:
    targets = [[7, 0, 9], [0, 8, 0]][column]
    return {"data": targets, "dtype": "int64"}, {"data": [1.0] * 3, "dtype": "float32"}
