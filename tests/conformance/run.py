"""Runs every program, by an interpreter that has the official SDK: ``python -m conformance.run URL``.

Each prints one line of JSON: its name and what went wrong, null for nothing.
"""

import json
import sys
import traceback
import warnings

import conformance.programs_management
import conformance.programs_sampling
import conformance.programs_training  # noqa: F401 - importing them makes them known
from conformance.user import PROGRAMS, User


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
