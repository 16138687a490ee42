"""The shortest program of ours, one optimizer step: ``python -m fast_path.first_ours URL``, or ``import`` or ``bare``.

It tells what its import cost, or where its memory stands when the step is done; it loads nothing else before.
``import`` is all that such a program needs; ``bare`` is the package alone, which loads next to nothing.
"""

import importlib
import sys
import time
from typing import Any

from fast_path.memory import memory


def main() -> None:
    """Import, and with an address train one step."""
    wall, cpu = time.perf_counter(), time.process_time()
    importlib.import_module("tinkex")
    if sys.argv[1] != "bare":
        actors: Any = importlib.import_module("tinkex.actors")
        protocol: Any = importlib.import_module("tinkex.protocol")
        service_client, messages, params = actors.ServiceClient, protocol.messages, protocol.AdamParams
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rss = memory("VmRSS")
        if sys.argv[1] != "import":
            service = service_client.start(base_url=sys.argv[1], state_dir="")
            client = service.ask(messages.CreateLoraTrainingClient("fast/path", rank=8)).unwrap()
            client.ask(messages.OptimStep(params(learning_rate=1e-4))).unwrap()
    else:
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rss = memory("VmRSS")
    print(f'{{"wall": {wall}, "cpu": {cpu}, "rss": {rss}}}', flush=True)


if __name__ == "__main__":
    main()
