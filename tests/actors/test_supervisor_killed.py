"""A supervisor that is killed while it starts a child takes the child along."""

from typing import Any

import pykka
import pytest

from tinkex.actors import GenServer, Supervisor
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import ChildSpec, messages


class Slow(GenServer[Any]):
    """Offers its turn while it starts, so that others may act meanwhile."""

    def on_start(self) -> None:
        for _ in range(3):
            self.runtime.step("starts slowly")


@pytest.mark.parametrize("seed", range(30))
def test_no_child_outlives_a_supervisor_that_is_killed_while_it_starts(seed: int) -> None:
    with SeededScheduler(seed) as world:
        supervisor = Supervisor.start()
        started = [supervisor.ask(messages.StartChild(ChildSpec(f"c{n}", Slow)), block=False) for n in range(3)]

        def kill() -> None:
            world.offer()
            supervisor.kill()

        world.start_thread("Killer", kill)
        world.run_until_idle()
        assert all(reply.done() for reply in started)
        assert pykka.ActorRegistry.get_all() == []
