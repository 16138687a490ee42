"""A process that has imported the command, and forks one for each line of JSON; ``reap`` waits for the end of one."""

import importlib
import json
import os
import sys
from typing import Any

from tinkex.cli import main

WORDS = (
    "_jobs._train",
    "_jobs._resume",
    "_jobs._remote",
    "_shown._run_told",
    "_shown._display_plain",
    "_shown._display_json",
)
LIBRARIES = ("httpx", "numpy", "matplotlib.backends.backend_agg")
LOADED = [importlib.import_module(name) for name in (*(f"tinkex.cli.{word}" for word in WORDS), *LIBRARIES)]


def command(order: dict[str, Any]) -> None:
    """Be the command; does not return."""
    os.chdir(order["folder"])
    os.environ.update(order["variables"])
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["tinkex", *order["words"]]
    main()


def say(**answer: Any) -> None:
    """Answer with one line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def serve() -> None:
    """Obey lines until there are none."""
    while line := sys.stdin.readline():
        order = json.loads(line)
        if "reap" in order:
            _, status = os.waitpid(order["reap"], 0)
            say(status=os.waitstatus_to_exitcode(status))
            continue
        pid = os.fork()
        if pid == 0:
            command(order)
        say(pid=pid)


if __name__ == "__main__":
    serve()
