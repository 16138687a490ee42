"""A process that has imported the engine and forks one for each line: ``start COUNT ROOT`` or ``reap PID``.

So that a killed engine is back within a fraction of the seconds that importing takes. With a COUNT above 0 the engine
kills itself as it is about to touch the files of its root for the COUNTth time.
"""

import json
import os
import signal
import sys
from pathlib import Path

from tinkex.engine import EngineConfig, serve
from tinkex.engine._compute import _compute

LOADED = _compute  # torch, before the first fork


def say(**fields: object) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


TOUCHES = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "shutil.rmtree"})


def die_at(count: int, root: str) -> None:
    """Kill this process at the countth touch of a file below ``root``."""
    left = count

    def hook(event: str, details: tuple[object, ...]) -> None:
        nonlocal left
        if event in TOUCHES and str(details[0]).startswith(root):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def engine(count: int, root: str) -> None:
    """Be an engine until killed."""
    os.close(0)

    def ready(url: str) -> None:
        if count:
            die_at(count, root)
        say(url=url, pid=os.getpid())

    serve(EngineConfig(Path(root), gap_timeout=60.0), on_ready=ready)
    os._exit(0)


say(ready=True)
for line in sys.stdin:
    word, _, argument = line.strip().partition(" ")
    if word == "start":
        if os.fork() == 0:
            number, _, folder = argument.partition(" ")
            engine(int(number), folder)
    else:
        os.waitpid(int(argument), 0)
        say(reaped=argument)
