import math
import pickle
import re
from typing import Any, TypeVar, assert_type

import msgspec
import pytest

from support_protocol import datum
from tinkex.protocol import AdamParams, ChildSpec, LoraConfig, Request, Result, TinkexError, messages, replies

T = TypeVar("T")
PATH = "tinker://run:train:0/weights/ckpt"
SAMPLER = "tinker://run:train:0/sampler_weights/ckpt"


class Worker:
    pass


GOOD: list[Request[Any]] = [
    messages.CreateLoraTrainingClient("base"),
    messages.CreateLoraTrainingClient("base", 8, 1, False, True, False, {"k": "v"}, "urn:uuid:1"),
    messages.CreateTrainingClientFromState(PATH),
    messages.CreateTrainingClientFromState(PATH, True, "base", {"k": "v"}, "token", "urn:uuid:1"),
    messages.GetServerCapabilities(),
    messages.GetCheckpointInfo(SAMPLER),
    messages.GetTrainingRun("run:train:0"),
    messages.ListCheckpoints(),
    messages.ListCheckpoints("run:train:0"),
    messages.DeleteCheckpoint(SAMPLER),
    messages.SetCheckpointTtl(PATH, 3600),
    messages.SetCheckpointTtl(PATH, None),
    messages.FinishSession("session-1"),
    messages.FinishSession("session-1", "taken over"),
    messages.Leaks(),
    messages.Status(),
    messages.Forward([datum()]),
    messages.ForwardBackward([datum()], "cross_entropy", {}),
    messages.OptimStep(AdamParams()),
    messages.SaveState("ckpt-001"),
    messages.SaveState("ckpt-001", 1, True, {"k": "v\n"}),
    messages.LoadState(PATH),
    messages.LoadState(PATH, True, True),
    messages.SaveWeightsForSampler("ckpt"),
    messages.SaveWeightsForSampler("ckpt", 60),
    messages.GetInfo(),
    messages.UnloadModel(),
    messages.StartChild(ChildSpec("id", Worker)),
    messages.TerminateChild("id"),
    messages.RestartChild("id"),
    messages.WhichChildren(),
    messages.CountChildren(),
    messages.Tree(),
    messages.Tree(0.0),
    messages.Start(),
    messages.Pause(),
    messages.Resume(),
    messages.CheckpointNow(),
    messages.Stop(),
    messages.Stop(False),
    messages.Why(),
    messages.WaitUntilDone(),
]


def test_every_message_is_tried_here() -> None:
    assert {type(message).__name__ for message in GOOD} == set(messages.__all__)


@pytest.mark.parametrize("message", GOOD)
def test_a_good_message_passes_bounded_and_unbounded(message: Request[Any]) -> None:
    assert message.check() is None
    for timeout in (0.001, 5, 1e9):
        assert msgspec.structs.replace(message, await_timeout=timeout).check() is None


@pytest.mark.parametrize("message", GOOD)
@pytest.mark.parametrize("timeout", [0, 0.0, -1, math.nan, math.inf, "5", True, [1], 10**400])
def test_every_message_refuses_a_bad_await_timeout(message: Request[Any], timeout: Any) -> None:
    error = msgspec.structs.replace(message, await_timeout=timeout).check()
    assert error is not None
    assert error.message.startswith("await_timeout must be a finite number above 0.0")


@pytest.mark.parametrize("message", GOOD)
@pytest.mark.parametrize("key", ["", "k", 0])
def test_every_message_refuses_a_key(message: Request[Any], key: Any) -> None:
    error = msgspec.structs.replace(message, key=key).check()
    assert error is not None
    assert error.data["field"] == "key"


@pytest.mark.parametrize("message", GOOD)
def test_every_message_is_frozen_documented_and_takes_the_common_fields_by_name_only(message: Request[Any]) -> None:
    with pytest.raises(AttributeError):
        message.key = "k"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    assert type(message).__doc__
    assert message.__struct_fields__[-2:] == ("await_timeout", "key")
    assert not {"await_timeout", "key"} & set(type(message).__match_args__)


@pytest.mark.parametrize("message", [m for m in GOOD if not isinstance(m, messages.StartChild)])
def test_every_message_survives_a_pickle(message: Request[Any]) -> None:
    assert pickle.loads(pickle.dumps(message)) == message


BAD: list[tuple[Request[Any], str]] = []


def bad(kind: Any, why: str, *fields: Any, **named: Any) -> None:
    BAD.append((kind(*fields, **named), why))


for create in (messages.CreateLoraTrainingClient, messages.CreateTrainingClientFromState):
    subject = "base" if create is messages.CreateLoraTrainingClient else PATH
    for wrong in ("", 3, "a\nb", "\ud800"):
        bad(create, "owner must be text", subject, owner=wrong)
        bad(create, "base_model must be text", **{"path": PATH} if subject == PATH else {}, base_model=wrong)
    bad(create, "user_metadata must be a dict", subject, user_metadata=[("k", "v")])
    bad(create, r"user_metadata\['k'\] must be text .* not 3", subject, user_metadata={"k": 3})
    bad(create, r"user_metadata\[3\] must be text", subject, user_metadata={3: "v"})
    bad(create, r"user_metadata\['k'\] must be text", subject, user_metadata={"k": "\ud800"})
bad(messages.CreateLoraTrainingClient, "base_model must be text, not None", None)
bad(messages.CreateLoraTrainingClient, "rank must be a whole number from 1 to 1024, not 0", "base", 0)
bad(messages.CreateLoraTrainingClient, "rank must be", "base", True)
bad(messages.CreateLoraTrainingClient, "seed must be", "base", seed=-1)
bad(messages.CreateLoraTrainingClient, "train_mlp must be", "base", train_mlp=1)
bad(messages.CreateLoraTrainingClient, "nothing would", "base", 8, None, False, False, False)
bad(messages.CreateTrainingClientFromState, "optimizer must be True or False, not 1", PATH, 1)
for token in ("", "a\nb", "é", 3):
    bad(messages.CreateTrainingClientFromState, "weights_access_token", PATH, weights_access_token=token)
for wants_path in (
    messages.CreateTrainingClientFromState,
    messages.LoadState,
    messages.GetCheckpointInfo,
    messages.DeleteCheckpoint,
):
    for no_path, reason in (
        (None, "path must be text like .* not None"),
        ("", "path is empty"),
        ("tinker://run/ckpt", "path has 2 parts"),
        ("tinker://run/weights/a/b", "path has 4 parts"),
        ("run/weights/ckpt", "path must begin with tinker://"),
        ("tinker://run/models/ckpt", "path has kind 'models'"),
    ):
        bad(wants_path, reason, no_path)
bad(messages.SetCheckpointTtl, "path is empty", "", None)
for wants_weights in (messages.CreateTrainingClientFromState, messages.LoadState):
    bad(wants_weights, f"path must be a 'weights' path.*training twin would be {PATH}", SAMPLER)
    bad(wants_weights, "path must be a 'weights' path", "tinker://run/external_weights/ckpt")
for wants_name in (messages.SaveState, messages.SaveWeightsForSampler):
    for wrong in ("a/b", "a b", "a" * 300, "", ".", "..", ".a", "ä"):
        bad(wants_name, "name is 1 to 255", wrong)
    bad(wants_name, "name is text, not NoneType", None)
    for ttl in (0, -1, "1h", 1.5, True, math.nan):
        bad(wants_name, "ttl_seconds must be a whole number of at least 1", "ckpt", ttl)
for ttl in (0, -1, "1h", 3600.0, False):
    bad(messages.SetCheckpointTtl, "ttl_seconds must be a whole number of at least 1", PATH, ttl)
bad(messages.SaveState, "overwrite must be True or False, not 'yes'", "ckpt", overwrite="yes")
bad(messages.SaveState, "user_metadata must be a dict", "ckpt", user_metadata="k=v")
bad(messages.SaveState, r"user_metadata\['n'\] must be text", "ckpt", user_metadata={"n": None})
bad(messages.LoadState, "optimizer must be", PATH, "true")
bad(messages.LoadState, "release_first must be", PATH, release_first=0)
for run_id in ("", 3, "a/b", "..", "a b"):
    bad(messages.ListCheckpoints, "run", run_id)
for passes in (messages.Forward, messages.ForwardBackward):
    bad(passes, "data is empty", [])
    bad(passes, "data must be a list", None)
    bad(passes, r"data\[0\]\.loss_fn_inputs\['weights'\] has nan", [datum(weights=[math.nan, 0.0, 0.0])])
    bad(passes, "loss_fn must be text", [datum()], None)
    bad(passes, "loss_fn_config", [datum()], "ppo", {"a": math.nan})
bad(messages.OptimStep, "adam_params must be AdamParams, not {'lr': 1}", {"lr": 1})
bad(messages.OptimStep, "adam_params must be AdamParams, not None", None)
bad(messages.OptimStep, "learning_rate must be a finite number of at least 0.0, not nan", AdamParams(math.nan))
bad(messages.StartChild, "spec must be a ChildSpec, not None", None)
for no_text in (None, "", " ", 3, "a\nb", "\ud800"):
    bad(messages.FinishSession, "session_id must be text", no_text)
    if no_text is not None:
        bad(messages.FinishSession, "detail must be text", "session-1", no_text)
for no_flag in (None, 1, "yes"):
    bad(messages.Stop, "save must be True or False", no_flag)
for by_id in (messages.TerminateChild, messages.RestartChild):
    bad(by_id, "id must be text, not None", None)
    bad(by_id, "id must be text that is not blank", " ")


@pytest.mark.parametrize(("message", "why"), BAD, ids=lambda value: type(value).__name__ if value in GOOD else "")
def test_a_bad_field_is_refused_by_name(message: Request[Any], why: str) -> None:
    error = message.check()
    assert error is not None
    assert (error.kind, error.category) == ("validation", "user")
    assert re.search(why, error.message), error.message
    assert len(error.message) < 400


@pytest.mark.parametrize("message", [messages.OptimStep({}), messages.StartChild({})])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
def test_the_common_fields_are_checked_first(message: Request[Any]) -> None:
    error = msgspec.structs.replace(message, await_timeout=0).check()
    assert error is not None
    assert error.data["field"] == "await_timeout"


def test_what_the_sender_changes_later_does_not_reach_the_message() -> None:
    data, config, metadata = [datum()], {"beta": 1.0}, {"k": "v"}
    sent = messages.ForwardBackward(data, "dro", config)
    saved = messages.SaveState("a", user_metadata=metadata)
    made = messages.CreateLoraTrainingClient("base", user_metadata=metadata)
    loaded = messages.CreateTrainingClientFromState(PATH, user_metadata=metadata)
    data.clear()
    config.clear()
    metadata.clear()
    assert (len(sent.data), sent.loss_fn_config) == (1, {"beta": 1.0})
    assert saved.user_metadata == made.user_metadata == loaded.user_metadata == {"k": "v"}


def test_a_create_gives_its_adapter() -> None:
    made = messages.CreateLoraTrainingClient("base", 8, 1, train_mlp=False)
    assert made.lora_config == LoraConfig(8, 1, train_mlp=False)


def test_an_access_token_is_not_printed() -> None:
    message = messages.CreateTrainingClientFromState(PATH, weights_access_token="hush")
    assert "hush" not in f"{message} {message!r}"
    assert "weights_access_token=***" in repr(message)
    assert "weights_access_token=None" in repr(messages.CreateTrainingClientFromState(PATH))


def ask(_message: Request[T]) -> Result[T]:
    raise NotImplementedError


def typed_replies() -> None:
    """Never called: the checkers read what each message is answered with."""
    assert_type(ask(messages.SaveState("a")), Result[replies.SavedState])
    assert_type(ask(messages.LoadState("a")), Result[replies.LoadedState])
    assert_type(ask(messages.Forward([])), Result[replies.ForwardBackwardOutput])
    assert_type(ask(messages.ForwardBackward([])), Result[replies.ForwardBackwardOutput])
    assert_type(ask(messages.OptimStep(AdamParams())), Result[replies.OptimStepOutput])
    assert_type(ask(messages.SaveWeightsForSampler("a")), Result[replies.SavedSamplerWeights])
    assert_type(ask(messages.GetInfo()), Result[replies.ModelInfo])
    assert_type(ask(messages.UnloadModel()), Result[replies.UnloadedModel])
    assert_type(ask(messages.Status()), Result[replies.ActorStatus])
    assert_type(ask(messages.Leaks()), Result[replies.LeakReport])
    assert_type(ask(messages.GetServerCapabilities()), Result[replies.ServerCapabilities])
    assert_type(ask(messages.GetCheckpointInfo("a")), Result[replies.CheckpointInfo])
    assert_type(ask(messages.ListCheckpoints()), Result[replies.CheckpointList])
    assert_type(ask(messages.DeleteCheckpoint("a")), Result[replies.DeletedCheckpoint])
    assert_type(ask(messages.SetCheckpointTtl("a", 1)), Result[replies.CheckpointTtl])
    assert_type(ask(messages.FinishSession("a")), Result[replies.FinishedSession])
    assert_type(ask(messages.Start()), Result[replies.RunStatus])
    assert_type(ask(messages.Pause()), Result[replies.RunStatus])
    assert_type(ask(messages.Resume()), Result[replies.RunStatus])
    assert_type(ask(messages.CheckpointNow()), Result[replies.CommittedCheckpoint])
    assert_type(ask(messages.Stop()), Result[replies.StoppedRun])
    assert_type(ask(messages.Why()), Result[replies.Explanation])
    assert_type(ask(messages.WaitUntilDone()), Result[replies.StoppedRun])
    assert_type(ask(messages.WhichChildren()), Result[replies.ChildList])
    assert_type(ask(messages.CountChildren()), Result[replies.ChildCounts])
    assert_type(ask(messages.TerminateChild("a")), Result[replies.ChildStopped])
    assert_type(ask(messages.StartChild(ChildSpec("a", Worker))), Result[Any])
    assert_type(ask(messages.CreateLoraTrainingClient("a")), Result[Any])


def test_a_subclass_extends_the_check_and_the_reply() -> None:
    class Ping(Request[int], frozen=True):
        times: int = 1

        def check(self) -> TinkexError | None:
            return super().check() or (None if self.times > 0 else TinkexError("0", kind="validation", category="user"))

    assert Ping(2, await_timeout=1.0).check() is None
    assert Ping(0).check() is not None
    assert str(Ping(0, await_timeout=0).check()).startswith("await_timeout")
