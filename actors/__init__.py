"""The actors: clients of the Tinker API that serialise, supervise and always answer.

``tinkex.actors.testing`` holds the seams for tests: clock, transport and scheduler.
"""

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
from tinkex.protocol import ChildSpec

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
