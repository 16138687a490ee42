"""One run, to which a plan happens, and what must hold afterwards."""

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from chaos.child import FENCED, FINISHED, STOPPED
from chaos.laws import Undisturbed, check, check_kept, check_nothing_left, epoch_of, lost_work, undisturbed
from chaos.mother import Child, Mother
from chaos.plan import Moment, Plan, Strike

UPDATES = 40
_NEVER = 10**9


@dataclass
class Struck:
    """What one strike came to."""

    strike: Strike
    epoch: int
    """That held the run."""
    at: str
    """Where who was struck stood."""
    lost: int = 0


@dataclass
class Played:
    """What a run came to."""

    struck: list[Struck] = field(default_factory=list[Struck])
    epochs: int = 0
    seconds: float = 0.0


def play_undisturbed(mother: Mother, folder: Path, port: int, updates: int = UPDATES) -> Undisturbed:
    """Have a run to which nothing happens."""
    engine = mother.engine(folder / "engine", port)
    trainer = mother.trainer(root=str(folder / "t"), url=engine.url, updates=updates, every=3, depth=2)
    mother.until(lambda: not trainer.alive, "the undisturbed run ends")
    assert trainer.code == FINISHED, trainer
    check_nothing_left(engine.url)
    mother.kill(engine)
    return undisturbed(folder / "engine", folder / "t")


class Play:
    """Has a plan happen to a run."""

    def __init__(self, mother: Mother, folder: Path, port: int, plan: Plan) -> None:
        self.played = Played()
        self._mother = mother
        self._folder = folder
        self._root = folder / "t"
        self._port = port
        self._plan = plan
        self._engine = mother.engine(folder / "engine", port)
        self._trainers: list[Child] = []
        """Those that have not ended; the last one is struck."""
        self._start_trainer()

    def play(self, expected: Undisturbed) -> Played:
        """Have it all happen, wait for the end, and look at it."""
        began = time.monotonic()
        for strike in self._plan.strikes:
            if not self._come(strike.moment):
                break
            self._strike(strike)
            if self._over:
                break
        self._finish()
        check_nothing_left(self._engine.url)
        check(self._folder / "engine", self._root, expected)
        if self._plan.keep_last is not None:
            # One that was taken over may write the manifest that it was at, which nobody looks at.
            strays = sum(struck.strike.what == "take over" for struck in self.played.struck)
            check_kept(self._folder / "engine", self._root, self._plan.keep_last + strays)
        self._mother.strike(self._engine, signal.SIGTERM)
        self._mother.until(lambda: not self._engine.alive, "the engine ends when it is told")
        assert self._engine.code == 0, self._engine
        left = [child for child in self._mother.children.values() if child.alive]
        assert not left, f"processes are left: {left}"
        self._account()
        self.played.seconds = time.monotonic() - began
        return self.played

    # Processes

    @property
    def _trainer(self) -> Child:
        return self._trainers[-1]

    @property
    def _over(self) -> bool:
        return not self._trainers or any(child.code == FINISHED for child in self._trainers)

    def _start_engine(self) -> None:
        self._engine = self._mother.engine(self._folder / "engine", self._port)

    def _start_trainer(self) -> None:
        plan = self._plan
        options = {"updates": UPDATES, "every": plan.every, "depth": plan.depth, "keep_last": plan.keep_last}
        made = self._mother.trainer(root=str(self._root), url=f"http://127.0.0.1:{self._port}", **options)
        self._trainers.append(made)

    def _thaw(self, *children: Child) -> None:
        for child in children:
            if child.stopped:
                self._mother.thaw(child)

    # Moments

    def _come(self, moment: Moment) -> bool:
        """Wait for a moment; False where the run has ended before."""
        mother, trainer = self._mother, self._trainer
        if moment.whose == "clock":
            mother.within(moment.seconds, lambda: not trainer.alive)
            self._fail_if_failed(trainer)
            return trainer.alive
        target = trainer if moment.whose == "trainer" else self._engine
        mother.aim(target, moment.label, moment.nth)
        mother.until(lambda: target.stopped or not trainer.alive, f"{moment} comes")
        if target.stopped:
            return True
        self._fail_if_failed(trainer)
        self._take_no_aim()
        return False

    def _take_no_aim(self) -> None:
        self._mother.aim(self._engine, "", _NEVER)
        if self._mother.within(0.05, lambda: self._engine.stopped):
            self._mother.thaw(self._engine)

    def _fail_if_failed(self, trainer: Child) -> None:
        assert trainer.alive or trainer.code == FINISHED, f"a trainer ended by itself: {trainer}"

    # Strikes

    def _strike(self, strike: Strike) -> None:
        at = next((str(child.at) for child in (self._trainer, self._engine) if child.stopped), "")
        self.played.struck.append(Struck(strike, epoch_of(self._root), at))
        match strike.what:
            case "kill trainer":
                self._mother.kill(self._trainer)
                self._trainers.pop()
                self._thaw(self._engine)
                self._start_trainer()
            case "kill engine":
                self._mother.kill(self._engine)
                self._thaw(self._trainer)
                self._mother.within(strike.seconds)
                self._start_engine()
            case "kill both":
                self._kill_both(strike)
            case "term" | "term, then kill":
                self._term(strike)
            case "freeze trainer":
                self._freeze(self._trainer, self._engine, strike.seconds)
            case "freeze engine":
                self._freeze(self._engine, self._trainer, strike.seconds)
            case "take over":
                self._take_over(strike)

    def _kill_both(self, strike: Strike) -> None:
        self._mother.kill(self._trainer, self._engine)
        self._trainers.pop()
        if strike.engine_first:
            self._start_engine()
        self._start_trainer()
        if not strike.engine_first:
            self._mother.within(strike.seconds)
            self._start_engine()

    def _term(self, strike: Strike) -> None:
        mother, trainer = self._mother, self._trainer
        mother.strike(trainer, signal.SIGTERM)
        self._thaw(trainer, self._engine)
        if strike.what == "term":
            mother.until(lambda: not trainer.alive, "a trainer ends that was told to")
        else:
            mother.within(strike.seconds, lambda: not trainer.alive)
            mother.kill(trainer)
        # Before its run begins, and behind its end, a signal finds no handler, and takes the process as it takes any.
        unheard = not trainer.begun or trainer.report.get("state") == "finished"
        expected = (STOPPED, FINISHED, -signal.SIGKILL, *((-signal.SIGTERM,) if unheard else ()))
        assert trainer.code in expected, trainer
        assert trainer.code != STOPPED or trainer.report["state"] == "stopped", trainer
        self._trainers.pop()
        if trainer.code == FINISHED:
            self._trainers.append(trainer)
        else:
            self._start_trainer()

    def _freeze(self, frozen: Child, other: Child, seconds: float) -> None:
        self._mother.freeze(frozen)
        self._thaw(other)
        self._mother.within(seconds)
        self._thaw(frozen)

    def _take_over(self, strike: Strike) -> None:
        """One that stands still is taken over by another, and goes on then: one of the two has to give way."""
        mother, old, before = self._mother, self._trainer, epoch_of(self._root)
        mother.freeze(old)
        self._thaw(self._engine)
        self._start_trainer()
        new = self._trainer
        # A write lock that the frozen one holds keeps the new one waiting until it goes on.
        mother.within(1.0, lambda: epoch_of(self._root) > before or not new.alive, beat=0.01)
        mother.within(strike.seconds, lambda: not new.alive)
        self._thaw(old)
        mother.until(lambda: not (old.alive and new.alive), "one of two trainers gives way")
        for child in (old, new):
            if not child.alive and child.code == FENCED:
                self._trainers.remove(child)
            else:
                self._fail_if_failed(child)
        assert self._trainers, f"both gave way: {old}, {new}"

    # The end

    def _finish(self) -> None:
        self._thaw(self._engine, *self._trainers)
        for trainer in self._trainers:
            self._mother.ended(trainer, "the run ends")
        codes = {trainer.code for trainer in self._trainers}
        assert FINISHED in codes, self._trainers
        assert codes <= {FINISHED, FENCED}, self._trainers

    def _account(self) -> None:
        lost = lost_work(self._root)
        self.played.epochs = epoch_of(self._root)
        for epoch, updates in lost.items():
            before = [struck for struck in self.played.struck if struck.epoch < epoch]
            # What came later in an epoch struck a trainer that had not begun yet; who stood still lost nothing.
            same = [struck for struck in before if struck.epoch == before[-1].epoch]
            guilty = [struck for struck in same if "freeze" not in struck.strike.what] or same
            if guilty:
                guilty[0].lost += updates
            assert 0 <= updates <= self._plan.promise, (
                f"epoch {epoch} began {updates} updates before where the one before it was; "
                f"every {self._plan.every} at depth {self._plan.depth} promise at most {self._plan.promise}"
            )
