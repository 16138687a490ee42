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
from fast_path.values import check, expected_digest


class Work(Protocol):
    """One scenario by one side; every method is awaited in turn."""

    async def prepare(self) -> None:
        """Connect, make the clients and the data."""

    async def run(self, count: int, meter: Meter | None) -> None:
        """Do ``count`` operations, or rounds; with a meter, note their latencies. Checks nothing, keeps the answers."""

    def check(self) -> None:
        """Check all answers since the last check."""

    async def close(self) -> None:
        """End it as a user would."""


def options(doc: str | None) -> argparse.Namespace:
    """Read the command line of a driver."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("scenario")
    parser.add_argument("--tiny", action="store_true", help="small, to see that it runs")
    parser.add_argument("--count", type=int, help="operations instead of the scenario's")
    parser.add_argument(
        "--lane", choices=["own", "httpx"], default="own", help="ours alone: httpx is a user's transport"
    )
    parser.add_argument("--profile", choices=["calls", "cpu"], help="ours alone: find where the time goes")
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> Scenario:
    """Return the scenario that the command line names."""
    found = scenario(given.scenario, tiny=given.tiny)
    return found if given.count is None else Scenario(**{**found.__dict__, "count": given.count})


async def drive(
    work: Work,
    case: Scenario,
    control: Control,
    around: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]] | None = None,
) -> dict[str, Any]:
    """Run ``work`` and return its figures with the stub's; ``around`` takes what is measured, and runs it."""
    meter = Meter()
    control.begin(delay=case.delay, digest=True)
    await work.prepare()
    try:
        await work.run(case.warm_up, None)
        work.check()
        warm = control.report()
        if case.datums:
            check(list(warm["digests"]), [expected_digest(case.datums, case.tokens)])
        control.begin(delay=case.delay)

        async def measured() -> None:
            meter.start()
            await work.run(case.count, meter)
            meter.stop()

        await (measured() if around is None else around(measured))
        told = control.report()
        work.check()
        figures = meter.figures(case.operations) | {"threads": threads()}
    finally:
        closing = Meter()
        closing.start()
        await work.close()
        closing.stop()
    figures["closing"] = closing.figures(0)
    told_at_the_end = control.report()
    check([warm["disorder"], told["disorder"], told_at_the_end["disorder"]], [[], [], []])
    # A load that makes its model is that model's request 0; one into a model that was made before is its request 1.
    check(told["numbered"] in (case.operations, case.count if case.kind == "saves" else case.operations), True)
    check(told_at_the_end["unread"], 0)
    return {**figures, "stub": told}


def tell(figures: dict[str, Any]) -> None:
    """Print the one line that the parent reads."""
    print(json.dumps(figures), flush=True)
