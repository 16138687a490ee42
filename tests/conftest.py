"""Quiet logs, so that a failing test shows what failed; Ctrl-C as a terminal has it; and nobody leaves this machine."""

import logging
import signal

import structlog

from support_loopback import stay_here

stay_here()

structlog.configure(
    wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=False
)

# A shell starts what runs in its background with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
