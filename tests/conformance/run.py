"""Runs every program, by an interpreter that has the official SDK: ``python -m conformance.run URL``.

Each prints one line of JSON: its name and what went wrong, null for nothing.
"""

import json
import sys
import traceback
import warnings

from conformance import programs_management, programs_sampling, programs_training
from conformance.user import PROGRAMS, User

KNOWN = (programs_management, programs_sampling, programs_training)
"""Importing them puts their programs into the list."""


def main() -> None:
    """Run every program."""
    warnings.simplefilter("ignore")
    user = User(sys.argv[1])
    for run in PROGRAMS:
        failure = None
        try:
            run(user)
        except BaseException:  # noqa: BLE001 - the report of each goes on to the next
            failure = traceback.format_exc(limit=-3)
        print(json.dumps({"program": run.__name__, "failure": failure}), flush=True)


if __name__ == "__main__":
    main()
