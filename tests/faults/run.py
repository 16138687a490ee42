"""``make faults``: seeds from the command line, every run checked against the laws."""

import argparse
import logging
import os
import sys
import time

import structlog

from faults.batch import run_cases, seeded
from faults.matrix import cases

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=int, help="how many seeds")
    parser.add_argument("--seed", type=int, default=None, help="the first of them; by the clock if left out")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--singly", action="store_true", help="also run every fault at every step, one at a time")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    first = options.seed if options.seed is not None else int(time.time())
    total = run_cases(seeded(range(first, first + options.runs)), options.jobs)
    if options.singly and not total.failures:
        single = run_cases(cases(), options.jobs)
        single.seconds += total.seconds
        total.add(single)
        total.seconds = single.seconds
    for failure in total.failures:
        print(failure, end="\n\n")
    print(f"seeds {first} to {first + options.runs - 1}: {total.report()}")
    sys.exit(1 if total.failures else 0)
