"""What the children of the zygote are: an engine, or a trainer, each of which stops itself where it is told.

Both hear lines on their standard input: ``{"label": ..., "nth": ...}`` is where to stop next.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from chaos.points import Aim, Points, Wire
from support_trainer import LORA, Program
from tinkex.actors._trainer._config import TrainerConfig
from tinkex.actors._trainer._run_until_done import run_until_done
from tinkex.actors.testing import runtime
from tinkex.engine import EngineConfig, serve
from tinkex.protocol import CheckpointPolicy, RebuildPolicy, RetentionPolicy

FINISHED, FENCED, STOPPED = 0, 3, 75
"""How a trainer's process ends."""

TOUCHES = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "shutil.rmtree"})
_write = os.write  # before anybody wraps it


def say(**fields: Any) -> None:
    """Write one line of JSON, whole, whoever else writes."""
    _write(1, json.dumps(fields).encode() + b"\n")


def aim_of(order: dict[str, Any] | None) -> Aim | None:
    """Read where to stop."""
    return None if order is None else Aim(order["label"], order["nth"])


# The engine


def engine(order: dict[str, Any]) -> int:
    """Be an engine until the end."""
    root = order["root"]
    points = Points(Path(root))

    def hook(event: str, details: tuple[object, ...]) -> None:
        if event in TOUCHES and str(details[0]).startswith(root):
            points.reach(event)

    def listen() -> None:
        for line in sys.stdin:
            points.aim(aim_of(json.loads(line)))

    def ready(url: str) -> None:
        threading.Thread(target=listen, daemon=True).start()
        say(url=url, pid=os.getpid())

    points.aim(aim_of(order.get("aim")))
    sys.addaudithook(hook)
    serve(EngineConfig(Path(root), port=order["port"], gap_timeout=60.0), on_ready=ready)
    return 0


# The trainer


def trainer(order: dict[str, Any]) -> int:
    """Run the run to its end, a SIGTERM or a takeover; return the exit status."""
    root = Path(order["root"])
    points = Points(root)
    points.told = lambda label: say(at=label, pid=os.getpid())
    points.install()
    points.aim(aim_of(order.get("aim")))

    def listen() -> None:
        for line in sys.stdin:
            points.aim(aim_of(json.loads(line)))

    threading.Thread(target=listen, daemon=True).start()
    with runtime(http_transport=Wire(points)):
        (outcome,) = run_until_done(_config(order, root), on_started=lambda _refs: say(pid=os.getpid(), begun=True))
    if "points" in order:
        Path(order["points"]).write_text("\n".join(points.labels))
    error = outcome.error
    kind = error.kind if error is not None else None
    say(ended=os.getpid(), state=outcome.state, kind=kind, error=str(error), since=points.sent_since)
    # A supervisor must not take back at once what another trainer has taken; here the two are told apart.
    return FENCED if kind == "fenced" else outcome.status


def _config(order: dict[str, Any], root: Path) -> TrainerConfig:
    return TrainerConfig(
        run="r",
        root=root / "runs",
        program=Program(order["updates"]),
        lora=LORA,
        service={"base_url": order["url"], "heartbeat_seconds": 1.0, "state_dir": str(root / "ledger")},
        checkpoints=CheckpointPolicy(every_updates=order["every"]),
        retention=RetentionPolicy(keep_last=order.get("keep_last")),
        depth=order["depth"],
        # Engines die more often here than a policy should put up with.
        rebuild=RebuildPolicy(max_rebuilds=1000, backoff_seconds=0.01, max_backoff_seconds=0.05),
    )
