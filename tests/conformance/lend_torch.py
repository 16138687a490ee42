"""Let another environment find this one's torch, behind all of its own packages: ``python lend_torch.py PYTHON``.

The official SDK needs torch for losses that its users write; installing it once more would cost much for nothing.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

other = subprocess.run(
    [sys.argv[1], "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
    check=True,
    capture_output=True,
    text=True,
).stdout.strip()
(Path(other) / "zz_lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
