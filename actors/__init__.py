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
from tinkex.actors._runtime._outcome import Outcome
from tinkex.actors._service._service_client import ServiceClient
from tinkex.actors._service._service_proxy import ServiceClientProxy
from tinkex.actors._service._service_ref import ServiceClientRef
from tinkex.actors._supervision._named_ref import NamedRef, WhileDown, named, whereis
from tinkex.actors._supervision._supervisor import Supervisor
from tinkex.actors._supervision._supervisor_proxy import SupervisorProxy
from tinkex.actors._training._training_client import TrainingClient
from tinkex.actors._training._training_proxy import TrainingClientProxy, TrainingClientRef
from tinkex.protocol import ChildSpec

__all__ = [
    "AbandonReason",
    "ChildSpec",
    "Deferred",
    "Down",
    "GenRef",
    "GenServer",
    "NamedRef",
    "Outcome",
    "Pending",
    "Reply",
    "ServiceClient",
    "ServiceClientProxy",
    "ServiceClientRef",
    "Supervisor",
    "SupervisorProxy",
    "TrainingClient",
    "TrainingClientProxy",
    "TrainingClientRef",
    "Vitals",
    "WhileDown",
    "exposed",
    "named",
    "on",
    "whereis",
]
