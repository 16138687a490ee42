"""The part of a driver that is the same for all: the order of warm-up, check and measurement, and what is printed.

``python -m fast_path.drive_sdk URL A`` prints one line of JSON. The warm-up's bodies are read whole by the stub, so
that both sides are known to send the same; what is measured is only checked for its order and its answers.
"""

import argparse
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fast_path.meter import Control, Meter, threads
from fast_path.scenarios import Scenario, scenario
from fast_path.values import Answers, check, expected_digest


class Work(Protocol):
    """One scenario by one side."""

    answers: Answers

    async def prepare(self) -> None:
        """Connect, make the clients and the data."""

    async def run(self, count: int, meter: Meter | None) -> None:
        """Do ``count`` operations, or rounds; with a meter, note their latencies. Checks nothing, keeps the answers."""

    async def close(self) -> None:
        """End it as a user would."""


def options(doc: str | None) -> argparse.Namespace:
    """Read the command line of a driver."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("scenario")
    parser.add_argument("--tiny", action="store_true", help="small, to see that it runs")
    parser.add_argument("--count", type=int, help="operations instead of the scenario's")
    parser.add_argument("--profile", choices=["calls", "cpu"], help="ours alone: find where the time goes")
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> Scenario:
    """Return the scenario that the command line names."""
    return scenario(given.scenario, tiny=given.tiny, count=given.count)


async def drive(
    work: Work,
    case: Scenario,
    url: str,
    around: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]] | None = None,
) -> dict[str, Any]:
    """Run ``work`` and return its figures with the stub's; ``around`` takes what is measured, and runs it.

    Raises:
        AssertionError: a request came out of its order, or an answer is not the one that was due.
    """
    control = Control(url) if case.server == "stub" else None
    meter = Meter()
    if control is not None:
        control.begin(delay=case.delay, digest=True)
    await work.prepare()
    try:
        await work.run(case.warm_up, None)
        work.answers.check()
        if control is not None:
            _look_at_warm_up(control.report(), case)
            control.begin(delay=case.delay)

        async def measured() -> None:
            meter.start()
            await work.run(case.count, meter)
            meter.stop()

        await (measured() if around is None else around(measured))
        told = None if control is None else control.report()
        work.answers.check()
        figures = meter.figures(case.operations) | {"threads": threads(), "answers": work.answers.digest()}
    finally:
        closing = Meter()
        closing.start()
        await work.close()
        closing.stop()
    figures["closing"] = closing.figures(0)
    if control is not None:
        _look_at_order(told, control.report(), case)
    return {**figures, "stub": told}


def _look_at_warm_up(told: Any, case: Scenario) -> None:
    check(told["disorder"], [])
    if case.datums:
        check(list(told["digests"]), [expected_digest(case)])


def _look_at_order(told: Any, at_the_end: Any, case: Scenario) -> None:
    check(told["disorder"], [])
    check(at_the_end["disorder"], [])
    # A load that makes its model is that model's request 0; one into a model that was made before is its request 1.
    fewest = case.count if case.kind == "saves" else case.operations
    check(told["numbered"] in (fewest, case.operations), True)
    check(at_the_end["unread"], 0)


def tell(figures: dict[str, Any]) -> None:
    """Print the one line that the parent reads."""
    print(json.dumps(figures), flush=True)
