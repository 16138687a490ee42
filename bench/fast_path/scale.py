"""Start the benchmark at scale from any folder: ``python bench/fast_path/scale.py --help``."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    runpy.run_module("fast_path.scale_command", run_name="__main__")
