"""The actors: clients of the Tinker API that serialise, supervise and always answer.

``tinkex.actors.testing`` holds the seams for tests: clock, transport and scheduler.


What a name needs is imported with its first use: a client does not pay for trainers.
"""

from typing import TYPE_CHECKING

from tinkex.protocol._child_spec import ChildSpec
from tinkex.protocol._lazily import lazily

if TYPE_CHECKING:
    from tinkex.actors._genserver._deferred import AbandonReason, Deferred
    from tinkex.actors._genserver._dispatch import exposed, on
    from tinkex.actors._genserver._genserver import GenServer
    from tinkex.actors._genserver._ref import GenRef
    from tinkex.actors._genserver._reply import Pending, Reply
    from tinkex.actors._genserver._vitals import Vitals
    from tinkex.actors._genserver._watch import Down
    from tinkex.actors._programs._dataset_program import DatasetProgram
    from tinkex.actors._programs._examples import Example
    from tinkex.actors._programs._program import Batch, TrainingProgram
    from tinkex.actors._programs._schedule import Schedule
    from tinkex.actors._runs._folder import RunFolder
    from tinkex.actors._runs._history import committed_sequence, read_events, read_updates
    from tinkex.actors._runs._store import RunStore
    from tinkex.actors._runtime._outcome import Outcome
    from tinkex.actors._service._service_client import ServiceClient
    from tinkex.actors._service._service_proxy import ServiceClientProxy
    from tinkex.actors._service._service_ref import ServiceClientRef
    from tinkex.actors._supervision._named_ref import NamedRef, WhileDown, named, whereis
    from tinkex.actors._supervision._supervisor import Supervisor
    from tinkex.actors._supervision._supervisor_proxy import SupervisorProxy
    from tinkex.actors._trainer._config import TrainerConfig
    from tinkex.actors._trainer._run_until_done import RunOutcome, run_until_done, trainer_name, trainer_spec
    from tinkex.actors._trainer._trainer import Trainer
    from tinkex.actors._trainer._trainer_proxy import TrainerProxy, TrainerRef
    from tinkex.actors._trainer._verify_resume import verify_resume
    from tinkex.actors._training._training_client import TrainingClient
    from tinkex.actors._training._training_proxy import TrainingClientProxy, TrainingClientRef

__all__ = [
    "AbandonReason",
    "Batch",
    "ChildSpec",
    "DatasetProgram",
    "Deferred",
    "Down",
    "Example",
    "GenRef",
    "GenServer",
    "NamedRef",
    "Outcome",
    "Pending",
    "Reply",
    "RunFolder",
    "RunOutcome",
    "RunStore",
    "Schedule",
    "ServiceClient",
    "ServiceClientProxy",
    "ServiceClientRef",
    "Supervisor",
    "SupervisorProxy",
    "Trainer",
    "TrainerConfig",
    "TrainerProxy",
    "TrainerRef",
    "TrainingClient",
    "TrainingClientProxy",
    "TrainingClientRef",
    "TrainingProgram",
    "Vitals",
    "WhileDown",
    "committed_sequence",
    "exposed",
    "named",
    "on",
    "read_events",
    "read_updates",
    "run_until_done",
    "trainer_name",
    "trainer_spec",
    "verify_resume",
    "whereis",
]

if not TYPE_CHECKING:  # the checkers would believe that every name is there
    __getattr__ = lazily(
        __name__,
        {
            "_genserver._deferred": ["AbandonReason", "Deferred"],
            "_genserver._dispatch": ["exposed", "on"],
            "_genserver._genserver": ["GenServer"],
            "_genserver._ref": ["GenRef"],
            "_genserver._reply": ["Pending", "Reply"],
            "_genserver._vitals": ["Vitals"],
            "_genserver._watch": ["Down"],
            "_programs._dataset_program": ["DatasetProgram"],
            "_programs._examples": ["Example"],
            "_programs._program": ["Batch", "TrainingProgram"],
            "_programs._schedule": ["Schedule"],
            "_runs._folder": ["RunFolder"],
            "_runs._history": ["committed_sequence", "read_events", "read_updates"],
            "_runs._store": ["RunStore"],
            "_runtime._outcome": ["Outcome"],
            "_service._service_client": ["ServiceClient"],
            "_service._service_proxy": ["ServiceClientProxy"],
            "_service._service_ref": ["ServiceClientRef"],
            "_supervision._named_ref": ["NamedRef", "WhileDown", "named", "whereis"],
            "_supervision._supervisor": ["Supervisor"],
            "_supervision._supervisor_proxy": ["SupervisorProxy"],
            "_trainer._config": ["TrainerConfig"],
            "_trainer._run_until_done": ["RunOutcome", "run_until_done", "trainer_name", "trainer_spec"],
            "_trainer._trainer": ["Trainer"],
            "_trainer._trainer_proxy": ["TrainerProxy", "TrainerRef"],
            "_trainer._verify_resume": ["verify_resume"],
            "_training._training_client": ["TrainingClient"],
            "_training._training_proxy": ["TrainingClientProxy", "TrainingClientRef"],
        },
    )

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
