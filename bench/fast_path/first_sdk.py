"""The shortest program of the official SDK, one optimizer step: ``python -m fast_path.first_sdk URL``, or ``import``.

It tells what its import cost, or where its memory stands when the step is done; it loads nothing else before.
"""

import importlib
import sys
import time
from typing import Any

from fast_path.memory import memory


def main() -> None:
    """Import, and with an address train one step."""
    sys.path[:] = [entry for entry in sys.path if not entry.endswith("site-packages") or entry.startswith(sys.prefix)]
    wall, cpu = time.perf_counter(), time.process_time()
    tinker: Any = importlib.import_module("tinker")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rss = memory("VmRSS")
    if sys.argv[1] != "import":
        service = tinker.ServiceClient(base_url=sys.argv[1], api_key="tml-bench")
        client = service.create_lora_training_client("fast/path", rank=8).result()
        client.optim_step(tinker.types.AdamParams(learning_rate=1e-4)).result()
    print(f'{{"wall": {wall}, "cpu": {cpu}, "rss": {rss}}}', flush=True)


if __name__ == "__main__":
    main()
