"""Whether the process that took a run is still there."""

import socket
from pathlib import Path

from tinkex.actors._leases._process import Process
from tinkex.actors._runs._rows import RunRow


def owner_alive(row: RunRow) -> bool | None:
    """Say whether the process that took the run last lives; None where it is one of another host.

    One that is stopped lives. One that was killed and whose parent has not yet asked for its end does not.
    """
    owner = row.owner
    if owner is None:
        return False
    if owner.host != socket.gethostname():
        return None
    return not owner.is_gone() and not _is_defunct(owner)


def _is_defunct(process: Process) -> bool:
    try:
        words = Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return bool(words) and words[0] in {b"Z", b"X"}
