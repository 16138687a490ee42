"""What no checkpoint holds is bounded by the policy, however long a commit takes."""

from pathlib import Path

import httpx
import pytest

from support_clients import Faults
from support_trainer import Program, config, trainer
from tinkex.protocol import CheckpointPolicy, messages


@pytest.mark.parametrize(("every", "depth"), [(1, 1), (1, 3), (2, 2), (3, 2), (5, 1)])
def test_no_more_is_sent_than_the_policy_may_lose(url: str, tmp_path: Path, every: int, depth: int) -> None:
    ahead: list[int] = []
    faults = Faults()

    def rule(request: httpx.Request, _count: int) -> httpx.Response | None:
        if not request.url.path.endswith("/checkpoints"):
            return None
        # Not listed at the first look: the commit takes a second, in which much could be trained.
        listing = request.url.path.removeprefix("/api/v1")
        ahead.append(len(faults.sent("/optim_step")))
        first = sum(path == listing for path, _ in faults.seen) == 1
        return httpx.Response(200, json={"checkpoints": []}) if first else None

    faults.rule = rule
    given = config(
        tmp_path, url, Program(2 * (every + depth)), depth=depth, checkpoints=CheckpointPolicy(every_updates=every)
    )
    with trainer(given, faults) as ref:
        ended = ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap()
    assert ended.state == "finished"
    assert ended.durable_update == ended.update
    again = ahead[2 if depth >= every else 1]  # the second look for the first save, behind those for a second one
    at_once = 3 * every  # two saves may be on their way at once
    assert again == min(every + depth, at_once), "it goes on while a checkpoint is not there yet, and not too far"
