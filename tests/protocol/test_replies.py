import copy
import pickle
from typing import Any

import msgspec
import pytest

from tinkex.protocol import TensorData, replies

CHECKPOINT = replies.Checkpoint("tinker://r/weights/x", "weights/x", "training", "2026-11-24T03:00:00Z")
LEASE = replies.LeaseReport("m", "s", "expiring", 1.5, "unload was answered 503")
CHILD = replies.ChildInfo("id", "urn:uuid:1", "Worker", "permanent", alive=True)
NODE = replies.ChildNode("id", "name", "Worker", "urn:uuid:1", "permanent", "idle", 0, 1.5, 2, "crashed")
RUN = replies.RunStatus(run="digits", state="training", epoch=1, update=3)

# Positional, in the order that users unpack and match by.
GOOD: list[Any] = [
    replies.SavedState("p"),
    replies.LoadedState("p", "m"),
    replies.SavedSamplerWeights("p", None),
    replies.ForwardBackwardOutput("R", [{"logprobs": TensorData([1.0])}], {"loss:sum": 1.0}),
    replies.OptimStepOutput({"norm": 1.0}),
    replies.ModelInfo("m", "base", True, 8, "tok", "arch"),
    replies.UnloadedModel("m"),
    replies.SupportedModel("base", 1024),
    replies.ServerCapabilities([replies.SupportedModel("base", None)], {"torch": "2.6"}),
    replies.CheckpointInfo("p", "base", True, 8, True, True, False),
    CHECKPOINT,
    replies.CheckpointList([CHECKPOINT]),
    replies.DeletedCheckpoint("p"),
    replies.CheckpointTtl("p", None),
    LEASE,
    replies.LeakReport([LEASE]),
    replies.OperationStatus("optim_step", "polling", 3, 1.5, "req-1"),
    replies.ActorStatus("urn:uuid:1", "ready", "s", "m", 4, [replies.OperationStatus("save_weights", "sending")]),
    CHILD,
    replies.ChildList([CHILD]),
    replies.ChildCounts(2, 1, 0, 1),
    replies.ChildStopped("id"),
    NODE,
    replies.FinishedSession("s", True),
    replies.TrainingRunInfo("run", "base", True, "p"),
    RUN,
    replies.Explanation("training at update 3", RUN),
    replies.CommittedCheckpoint("tinker://r/weights/x", 3, "e00001-u000000003"),
    replies.StoppedRun("stopped", 3, True, 3, "tinker://r/weights/x"),
    replies.ResumeVerdict(True, "exact", True, True, 0.0, True, 0.0, [1.0], [1.0], [1.5]),
    replies.SupervisionTree("Supervisor", "urn:uuid:2", "one_for_all", "running", 0, 2.5, (NODE,)),
]


def test_every_reply_is_tried_here() -> None:
    assert {type(reply).__name__ for reply in GOOD} == set(replies.__all__)


@pytest.mark.parametrize("reply", GOOD)
def test_a_reply_is_a_documented_frozen_value(reply: msgspec.Struct) -> None:
    assert type(reply).__doc__
    for twin in (copy.copy(reply), copy.deepcopy(reply), pickle.loads(pickle.dumps(reply))):
        assert twin == reply
    with pytest.raises(AttributeError):
        setattr(reply, reply.__struct_fields__[0], None)


def test_a_reply_matches_by_position() -> None:
    match replies.LoadedState("p", "m"):
        case replies.LoadedState(path, model_id):
            assert (path, model_id) == ("p", "m")
