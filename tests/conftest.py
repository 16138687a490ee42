"""Quiet logs, so that a failing test shows what failed; Ctrl-C as a terminal has it; and nobody leaves this machine."""

import logging
import signal

import pytest
import structlog

from support_lanes import change_lanes
from support_loopback import stay_here

stay_here()

structlog.configure(
    wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=False
)

# A shell starts what runs in its background with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--other-lane",
        action="store_true",
        help="run the clients of this process through httpx in place of the fast lane, and the other way round",
    )


@pytest.fixture(autouse=True)
def _lanes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.config.getoption("--other-lane") and request.node.get_closest_marker("one_lane") is None:
        change_lanes(monkeypatch)
