"""Programs that train, save and resume, and what is refused."""

import math
from typing import Any

from conformance.user import LEARNING, User, datum, logprobs, program, refused, tinker, train, types


@program
def training_lowers_the_loss_and_forward_changes_nothing(user: User) -> None:
    client = user.create()
    first = logprobs(client)
    assert logprobs(client) == first
    losses = train(client, 8)
    assert losses[-1] < 0.5 * losses[0], losses
    assert math.isclose(losses[0], -sum(first), rel_tol=1e-5)


@program
def the_same_seed_gives_the_same_bits(user: User) -> None:
    assert train(user.create(), 3) == train(user.create(), 3)
    assert train(user.create(seed=8), 3) != train(user.create(), 3)


@program
def a_client_describes_its_model(user: User) -> None:
    info = user.create(rank=16).get_info()
    assert (info.is_lora, info.lora_rank, info.model_data.model_name) == (True, 16, user.base)


@program
def all_optimizer_parameters_are_taken(user: User) -> None:
    client = user.create()
    client.forward_backward([datum()], "cross_entropy").result()
    params = types.AdamParams(learning_rate=1e-3, beta1=0.8, beta2=0.9, eps=1e-8, weight_decay=0.1, grad_clip_norm=1.0)
    client.optim_step(params).result()
    before = logprobs(client)
    client.optim_step(types.AdamParams(learning_rate=0.0)).result()
    assert logprobs(client) == before


@program
def policy_losses_begin_at_what_their_formulas_say_for_the_samplers_own_logprobs(user: User) -> None:
    client = user.create()
    known = logprobs(client)
    data = [datum(logprobs=known, advantages=[0.5] * len(known))]
    ratio, weighed = -0.5 * len(known), -0.5 * sum(known)
    for loss_fn, expected in (("importance_sampling", ratio), ("ppo", ratio), ("cispo", weighed), ("dro", weighed)):
        loss = client.forward_backward(data, loss_fn).result().metrics["loss:sum"]
        assert math.isclose(loss, expected, rel_tol=1e-4), (loss_fn, loss)


@program
def a_custom_loss_in_the_client_trains_like_cross_entropy(user: User) -> None:
    def negative_logprob(data: Any, found: Any) -> Any:
        loss = -sum(values.sum() for values in found)
        return loss, {"my_loss": float(loss)}

    custom, plain = user.create(), user.create()
    for _ in range(2):
        output = custom.forward_backward_custom([datum()], negative_logprob).result()
        custom.optim_step(types.AdamParams(**LEARNING)).result()
        assert "my_loss" in output.metrics
    train(plain, 2)
    assert logprobs(custom) == logprobs(plain)


@program
def chunks_of_one_call_train_exactly_like_one_request(user: User) -> None:
    data = [datum(bytes([65 + number % 26]) * 2 + b"abcdef") for number in range(1030)]
    whole, halves = user.create(rank=4), user.create(rank=4)
    output = whole.forward_backward(data, "cross_entropy").result()
    assert len(output.loss_fn_outputs) == len(data)
    for part in (data[:500], data[500:]):
        halves.forward_backward(part, "cross_entropy").result()
    for client in (whole, halves):
        client.optim_step(types.AdamParams(**LEARNING)).result()
    assert logprobs(whole) == logprobs(halves)


@program
def a_resume_is_exact_with_the_optimizer_and_differs_without(user: User) -> None:
    client = user.create()
    train(client, 3)
    path = client.save_state("resume").result().path
    uninterrupted = train(client, 4)
    with_optimizer = train(user.resume(path, optimizer=True), 4)
    cold = train(user.resume(path, optimizer=False), 4)
    assert with_optimizer == uninterrupted
    assert cold[0] == uninterrupted[0]
    assert cold[1:] != uninterrupted[1:]


@program
def a_state_loads_into_a_fresh_client_like_it(user: User) -> None:
    client = user.create()
    train(client, 2)
    path = client.save_state("in-place").result().path
    fresh = user.create(seed=99)
    fresh.load_state_with_optimizer(path).result()
    assert train(fresh, 2) == train(client, 2)


@program
def a_load_into_a_used_client_is_refused_with_the_way_out(user: User) -> None:
    client = user.create()
    train(client, 1)
    path = client.save_state("used").result().path
    refused(lambda: client.load_state(path), says="first request")


@program
def a_name_is_taken_once_and_overwritten_on_request(user: User) -> None:
    client = user.create()
    train(client, 1)
    path = client.save_state("again").result().path
    train(client, 1)
    refused(lambda: client.save_state("again"), says="exists")
    now = logprobs(client)
    assert client.save_state("again", overwrite=True).result().path == path
    assert logprobs(user.resume(path, optimizer=False)) == now


@program
def checkpoints_are_listed_described_and_deleted(user: User) -> None:
    client = user.create()
    train(client, 1)
    weights = client.save_state("listed", ttl_seconds=7200).result().path
    sampler = client.save_weights_for_sampler("listed").result().path
    run = weights.split("/")[2]
    mine = {found.tinker_path: found for found in user.rest.list_checkpoints(run).result().checkpoints}
    assert set(mine) == {weights, sampler}
    assert (mine[weights].checkpoint_type, mine[sampler].checkpoint_type) == ("training", "sampler")
    assert mine[weights].expires_at is not None
    assert mine[sampler].expires_at is None
    assert (mine[weights].size_bytes or 0) > (mine[sampler].size_bytes or 0) > 0
    info = user.rest.get_weights_info_by_tinker_path(weights).result()
    assert (info.base_model, info.is_lora, info.lora_rank) == (user.base, True, 8)
    user.rest.delete_checkpoint_from_tinker_path(weights).result()
    left = [found.tinker_path for found in user.rest.list_checkpoints(run).result().checkpoints]
    assert left == [sampler]
    refused(lambda: user.resume(weights, optimizer=False))


@program
def a_time_to_live_is_set_and_taken_back(user: User) -> None:
    client = user.create()
    path = client.save_state("mortal").result().path
    run = path.split("/")[2]
    for seconds in (7200, None):
        user.rest.set_checkpoint_ttl_from_tinker_path(path, seconds).result()
        (found,) = user.rest.list_checkpoints(run).result().checkpoints
        assert (found.expires_at is None) is (seconds is None)


@program
def runs_are_listed_page_by_page(user: User) -> None:
    client = user.create()
    path = client.save_state("in-a-run").result().path
    run = path.split("/")[2]
    found = user.rest.get_training_run(run).result()
    assert (found.training_run_id, found.base_model, found.lora_rank) == (run, user.base, 8)
    assert found.corrupted is False
    assert found.last_checkpoint.tinker_path == path
    assert user.rest.get_training_run_by_tinker_path(path).result().training_run_id == run
    page = user.rest.list_training_runs(limit=1, offset=0).result()
    assert len(page.training_runs) == 1
    assert page.cursor.total_count > 1
    assert path in [one.tinker_path for one in user.rest.list_user_checkpoints(limit=1000).result().checkpoints]


@program
def sessions_are_listed(user: User) -> None:
    session = user.create().save_state("in-a-session").result().path.split("/")[2].split(":")[0]
    assert session in user.rest.list_sessions(limit=1000).result().sessions
    assert user.rest.get_session(session).result().training_run_ids


@program
def bad_input_is_refused_in_words_and_the_client_goes_on(user: User) -> None:
    client = user.create()
    too_big = [
        types.Datum(
            model_input=types.ModelInput.from_ints([1, 2]),
            loss_fn_inputs={"target_tokens": [1, 10**6], "weights": [1.0, 1.0]},
        )
    ]
    refused(lambda: client.forward_backward(too_big, "cross_entropy"), says="target_tokens")
    refused(lambda: client.forward_backward([datum()], "no_such_loss"), says="no_such_loss")
    refused(lambda: client.forward_backward([datum()], "gspo"), says="no published formula")
    refused(lambda: client.optim_step(types.AdamParams(learning_rate=-1.0)), says="learning_rate")
    refused(lambda: client.save_state("a/b"))
    assert len(train(client, 2)) == 2


@program
def what_does_not_exist_is_said(user: User) -> None:
    refused(lambda: user.service.create_lora_training_client("no/such-model", rank=8), says="no/such-model")
    refused(lambda: user.resume("tinker://nobody:train:0/weights/nothing", optimizer=True), says="nothing")


@program
def a_wrong_key_is_refused(user: User) -> None:
    refused(
        lambda: tinker.ServiceClient(base_url=user.url, api_key="tml-wrong").get_server_capabilities(), says="X-API-Key"
    )
