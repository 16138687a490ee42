"""What actors are asked. Each message is a frozen struct, generic in its reply."""

from tinkex.protocol._service_messages import (
    CreateLoraTrainingClient,
    CreateTrainingClientFromState,
    DeleteCheckpoint,
    GetCheckpointInfo,
    GetServerCapabilities,
    ListCheckpoints,
    SetCheckpointTtl,
)
from tinkex.protocol._supervisor_messages import (
    CountChildren,
    Leaks,
    RestartChild,
    StartChild,
    Status,
    TerminateChild,
    Tree,
    WhichChildren,
)
from tinkex.protocol._training_messages import (
    Forward,
    ForwardBackward,
    GetInfo,
    LoadState,
    OptimStep,
    SaveState,
    SaveWeightsForSampler,
    UnloadModel,
)

__all__ = [
    "CountChildren",
    "CreateLoraTrainingClient",
    "CreateTrainingClientFromState",
    "DeleteCheckpoint",
    "Forward",
    "ForwardBackward",
    "GetCheckpointInfo",
    "GetInfo",
    "GetServerCapabilities",
    "Leaks",
    "ListCheckpoints",
    "LoadState",
    "OptimStep",
    "RestartChild",
    "SaveState",
    "SaveWeightsForSampler",
    "SetCheckpointTtl",
    "StartChild",
    "Status",
    "TerminateChild",
    "Tree",
    "UnloadModel",
    "WhichChildren",
]
