"""Which faults strike, and where: pure, from a seed, printable, and read back from what was printed."""

import random
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

ATTEMPT_FAULTS: Final = (
    "refuse",
    "lose_request",
    "lose_reply",
    "ghost",
    "hang_request",
    "hang_reply",
    "delay",
    "slow_reply",
    "duplicate",
    "proxy_403",
    "proxy_404",
    "proxy_502",
    "server_400",
    "server_401",
    "server_404",
    "server_409",
    "server_410",
    "pay_402",
    "timeout_408",
    "early_425",
    "busy_429",
    "error_500",
    "down_503",
    "ran_500",
    "ran_408",
    "portal_json",
    "portal_html",
    "empty",
    "truncated",
    "garbled",
)
"""What happens to one delivery; see ``network``."""

RESULT_FAULTS: Final = ("failed_user", "failed_server")
"""What a request that was taken comes to."""

SERVER_FAULTS: Final = ("expire_sessions",)

LOCAL_FAULTS: Final = (
    "crash_client",
    "kill_client",
    "stop_client",
    "crash_reaper",
    "crash_supervisor",
    "kill_supervisor",
    "crash_service",
    "kill_service",
    "stop_service",
    "kill_owner",
    "cancel",
)
"""What happens in the client's own process while a request is on its way."""

KINDS: Final = (*ATTEMPT_FAULTS, *RESULT_FAULTS, *SERVER_FAULTS, *LOCAL_FAULTS)

FUTURES: Final = (
    "create_model",
    "load_weights",
    "forward_backward",
    "forward",
    "optim_step",
    "save_weights",
    "save_weights_for_sampler",
    "unload_model",
)
LABELS: Final = (
    "create_session",
    "weights_info",
    *(label for name in FUTURES for label in (name, f"result:{name}")),
    "checkpoints",
    "get_info",
    "session_heartbeat",
    "finish",
)
"""The steps that a fault can strike at: requests by their endpoint, polls by what they ask for."""

FOR_GOOD: Final = 1_000_000
"""As ``times``: until the program heals the network."""

BEHIND: Final = 0.3
"""How often a fault strikes right behind the one before it: at the repeat, say."""

_PRINTED: Final = re.compile(r"(\w+)@([\w:]+)#(\d+)(?:x(\d+))?")


class Fault(NamedTuple):
    """``kind`` strikes the deliveries ``at`` to ``at + times - 1`` of ``label``, counted from 1."""

    kind: str
    label: str
    at: int = 1
    times: int = 1

    def __str__(self) -> str:
        return f"{self.kind}@{self.label}#{self.at}" + (f"x{self.times}" if self.times != 1 else "")

    def strikes(self, label: str, count: int) -> bool:
        """Whether the ``count``-th delivery of ``label`` is struck."""
        return label == self.label and self.at <= count < self.at + self.times


def parse(text: str) -> tuple[Fault, ...]:
    """Read faults as they are printed, ``lose_reply@optim_step#2 down_503@finish#1x3``."""
    found = _PRINTED.fullmatch
    matches = [found(word) for word in text.split()]
    if not all(matches):
        raise ValueError(f"no plan: {text!r}")
    return tuple(Fault(match[1], match[2], int(match[3]), int(match[4] or 1)) for match in matches if match is not None)


def applies(kind: str, label: str) -> bool:
    """Whether ``kind`` means anything at ``label``."""
    if kind in RESULT_FAULTS:
        return label in FUTURES
    return True


def plan(seed: int, labels: Sequence[str] = LABELS) -> tuple[Fault, ...]:
    """Return the faults of ``seed`` at steps in ``labels``: none, one, or several at once."""
    rng = random.Random(f"plan {seed}")
    number = rng.choice((0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5))
    faults: list[Fault] = []
    while len(faults) < number:
        draw = rng.random()
        kind = rng.choice(LOCAL_FAULTS if draw < 0.2 else RESULT_FAULTS if draw < 0.3 else KINDS)
        label = rng.choice(labels)
        behind = rng.random() < BEHIND and bool(faults) and faults[-1].times < FOR_GOOD
        if behind:
            label = faults[-1].label
        if not applies(kind, label):
            continue
        times = 1 if kind in LOCAL_FAULTS else rng.choice((1, 1, 1, 2, 3, 5, FOR_GOOD))
        at = faults[-1].at + faults[-1].times if behind else rng.choice((1, 1, 1, 1, 1, 2, 2, 3))
        faults.append(Fault(kind, label, at, times))
    return tuple(faults)
