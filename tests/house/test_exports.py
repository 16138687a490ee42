"""The names that users import, frozen: adding is easy, renaming breaks them."""

import importlib

import pytest

ROOMS = {
    "tinkex.protocol": """
        AdamParams ApiKey CheckpointPolicy ChildSpec Datum EncodedTextChunk Err ErrorCategory ErrorKind LoraConfig
        LossGuard Manifest ModelInput Ok RebuildPolicy RetentionPolicy RunState RunStatus WatchdogPolicy manifest_name
        QueueState QueueStateChange Recovered RecoveryFailed RecoveryPolicy RecoverySignal Request Result
        TensorData TinkerPath TinkexError check_data decode_message decode_result encode_message encode_result
        explain messages replies validation wire
    """,
    "tinkex.actors": """
        AbandonReason Batch ChildSpec DatasetProgram Deferred Down Example GenRef GenServer NamedRef Outcome Pending
        Reply RunFolder RunStore Schedule ServiceClient Trainer TrainerConfig TrainerProxy TrainerRef TrainingProgram
        committed_sequence read_events read_updates RunOutcome run_until_done trainer_name trainer_spec verify_resume
        ServiceClientProxy ServiceClientRef Supervisor SupervisorProxy TrainingClient TrainingClientProxy
        TrainingClientRef Vitals WhileDown exposed named on whereis
    """,
    "tinkex.engine": """
        BUILTIN_MODEL Engine EngineConfig EngineError EngineThread FaultPlan LORA_ALPHA app running_engine serve
    """,
    "tinkex.actors.testing": "Clock DeadlockError Runtime SeededScheduler Timer VirtualClock runtime",
    "tinkex.cli": "main",
}


@pytest.mark.parametrize("room", ROOMS)
def test_a_rooms_names_are_these(room: str) -> None:
    module = importlib.import_module(room)
    assert sorted(module.__all__) == sorted(ROOMS[room].split())
    assert all(hasattr(module, name) for name in module.__all__)
