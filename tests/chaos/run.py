"""``make chaos``: runs to which a seeded plan happens, until so many processes were killed.

``--play K`` plays one plan of the seed again. ``--zombies all`` has a trainer stand still before each of its writes and
sends, one after the other, instead; ``--zombies 50`` before one of each kind and 50 more.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from chaos.child import FENCED
from chaos.mother import Mother, free_port, mother
from chaos.plan import KILLS, Plan, draw
from chaos.play import Play, Struck, play_undisturbed
from chaos.zombies import STAGES, Haunt, Haunted, sample

STRIKES = 16
"""At most, in one run."""


def plan_of(seed: int, number: int) -> Plan:
    """Return a plan of a seed."""
    rng = random.Random(f"{seed}:{number}")
    return draw(rng, rng.randrange(STRIKES // 2, STRIKES + 1))


def chaos(
    folder: Path, kills: int, seed: int, first: int | None = None, say: Callable[[str], None] = lambda _line: None
) -> list[Struck]:
    """Play plans of ``seed`` until so many processes were killed; a failure tells which one."""
    struck: list[Struck] = []
    with mother(folder) as made:
        port = free_port(seed)
        expected = play_undisturbed(made, folder / "undisturbed", port)
        number = 0 if first is None else first
        while sum(item.strike.what in KILLS for item in struck) < kills:
            plan = plan_of(seed, number)
            place = folder / f"play-{number}"
            play = Play(made, place, port, plan)
            try:
                played = play.play(expected)
            except AssertionError as error:
                raise AssertionError(_failure(made, play, seed, number, plan, error)) from error
            struck += played.struck
            worst = max((item.lost for item in played.struck), default=0)
            say(
                f"play {number}: {len(played.struck)} of {len(plan.strikes)} strikes, {played.epochs} epochs, "
                f"{played.seconds:.1f} s, at most {worst} updates lost of {plan.promise} (every {plan.every}, "
                f"depth {plan.depth})"
            )
            number += 1
            if first is not None:
                break
    return struck


def _failure(made: Mother, play: Play, seed: int, number: int, plan: Plan, error: AssertionError) -> str:
    struck = "\n".join(f"  {item.strike} in epoch {item.epoch} {item.at}" for item in play.played.struck)
    tail = "\n".join(made.log.read_text(errors="replace").splitlines()[-40:])
    return (
        f"SEED={seed}, play {number} (every {plan.every}, depth {plan.depth}): {error}\n"
        f"struck:\n{struck}\nthe plan:\n  {plan.strikes}\nthe log {made.log}:\n{tail}\n"
        f"again: PYTHONPATH=tests python -m chaos.run 1 --seed {seed} --play {number}"
    )


def table(struck: list[Struck]) -> str:
    """Return how often what was done, and what it cost."""
    lines = [f"{'what':18} {'times':>6} {'updates lost: mean':>19} {'most':>5}"]
    for what in sorted({item.strike.what for item in struck}):
        lost = [item.lost for item in struck if item.strike.what == what]
        lines.append(f"{what:18} {len(lost):6} {sum(lost) / len(lost):19.2f} {max(lost):5}")
    return "\n".join(lines)


def zombies(
    folder: Path, seed: int, more: int | None, say: Callable[[str], None] = lambda _line: None
) -> list[Haunted]:
    """Have a trainer stand still before one write or send of each kind and ``more`` others, None being all of them."""
    rng = random.Random(f"{seed}:zombies")
    told: list[Haunted] = []
    with mother(folder) as made:
        haunt = Haunt(made, folder, free_port(seed))
        points = haunt.prepare()
        chosen = points if more is None else sample(points, rng, more)
        say(f"{len(chosen)} of {len(points)} points, {len({point.label for point in points})} kinds")
        for point in chosen:
            stage = rng.choice(STAGES)
            try:
                told.append(haunt.haunt(point, stage))
            except AssertionError as error:
                raise AssertionError(f"SEED={seed}: {error}") from error
            say(str(told[-1]))
        haunt.end()
    return told


def main() -> int:
    """Read the command line and play."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, help="how many processes to kill")
    parser.add_argument("--seed", type=int, default=None, help="by the clock if left out")
    parser.add_argument("--play", type=int, default=None, help="only this one")
    parser.add_argument("--zombies", default=None, help="all, or how many besides one of each kind")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int(time.time())
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    began = time.monotonic()
    say(f"SEED={seed} N={options.kills}, in {folder}")
    try:
        if options.zombies is not None:
            told = zombies(folder, seed, None if options.zombies == "all" else int(options.zombies), say)
            say(f"{time.monotonic() - began:.0f} s: {summary(told)}")
            return 0
        struck = chaos(folder, options.kills, seed, options.play, say)
    except AssertionError as error:
        say(str(error))
        return 1
    killed = sum(item.strike.what in KILLS for item in struck)
    say(table(struck))
    say(f"{len(struck)} strikes, {killed} of them kill -9, {time.monotonic() - began:.0f} s: every run ended exactly")
    return 0


def summary(told: list[Haunted]) -> str:
    """Return what became of those that stood still."""
    came = [item for item in told if item.came]
    fenced = sum(item.zombie == FENCED for item in came)
    taken = sum(item.taken for item in came)
    early = sum(not item.had_taken for item in came)
    return (
        f"{len(came)} of {len(told)} stood still, {early} of them before they held the run; {taken} were taken over "
        f"before they went on, and {fenced} ended as fenced; every run ended exactly"
    )


def say(line: str) -> None:
    """Print one line."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
