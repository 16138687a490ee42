"""What a user does: short random programs, pure, from a seed."""

import random
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

Verb = Literal[
    "create",
    "forward",
    "forward_backward",
    "optim_step",
    "save",
    "save_sampler",
    "load",
    "info",
    "unload",
    "wait",
    "sleep",
    "end",
    "hit",
    "leaks",
]
Target = Literal["reaper", "supervisor", "service", "owner"]
Source = Literal["base", "broken", "missing", "saved"]
"""A checkpoint: one from before that is sound, one that cannot be loaded, one that is not there, the latest saved."""

TRAINING: Final[tuple[Verb, ...]] = ("forward", "forward_backward", "optim_step", "save", "save_sampler")


class Step(msgspec.Struct, frozen=True):
    """One line of a program.

    Args:
        verb: what is asked.
        slot: of which client.
        source: from which checkpoint, for creates and loads; None makes a fresh client.
        optimizer: with its optimizer.
        release_first: whether a load gives the old model back before.
        rows: datums of a pass; more than ``play.CHUNK`` make several requests.
        taken: whether a save uses a name that another may have used.
        await_timeout: seconds for the operation.
        ask_timeout: seconds for which the caller waits.
        cancel_after: seconds after which the caller cancels.
        drop: whether the caller drops the reply unread.
        owned: whether a create names an owner.
        wait: whether the caller waits for the reply before the next step.
        seconds: of a sleep.
        target: what is hit: an actor that the user does not hold.
        how: the way in which an actor ends.
    """

    verb: Verb
    slot: int = 0
    source: Source | None = None
    optimizer: bool = False
    release_first: bool = False
    rows: int = 1
    taken: bool = False
    await_timeout: float | None = None
    ask_timeout: float | None = None
    cancel_after: float | None = None
    drop: bool = False
    owned: bool = False
    wait: bool = False
    seconds: float = 0.0
    target: Target = "reaper"
    how: Literal["stop", "kill", "crash"] = "crash"

    def __str__(self) -> str:
        options = {name: getattr(self, name) for name in self.__struct_fields__[1:]}
        told = [f"{name}={value}" for name, value in options.items() if value != getattr(PLAIN, name)]
        return " ".join([self.verb, *told])


PLAIN: Final = Step("wait")


class Program(msgspec.Struct, frozen=True):
    """What is run against which kind of server.

    Args:
        steps: in order.
        latency: seconds from receipt to result.
        direct: whether the server answers at once, without receipts.
        careful: whether the server fails what is asked behind failed gradients.
        send_timeout: seconds for which a request is repeated.
        shared: whether the supervisor is the user's own.
        heals: whether the network is mended before the last stop.
    """

    steps: Sequence[Step]
    latency: float = 0.0
    direct: bool = False
    careful: bool = True
    send_timeout: float = 30.0
    shared: bool = False
    heals: bool = True

    def __str__(self) -> str:
        return " ".join(f"{name}={getattr(self, name)}" for name in self.__struct_fields__[1:])


_REACHES: Final[dict[Verb, tuple[str, ...]]] = {
    "forward": ("forward", "result:forward"),
    "forward_backward": ("forward_backward", "result:forward_backward"),
    "optim_step": ("optim_step", "result:optim_step"),
    "save": ("save_weights", "result:save_weights"),
    "save_sampler": ("save_weights_for_sampler", "result:save_weights_for_sampler"),
    "load": ("weights_info", "load_weights", "result:load_weights"),
    "info": ("get_info",),
    "sleep": ("session_heartbeat",),
}


def reached(what: Program) -> list[str]:
    """Return the steps on the wire that a program comes to if all goes well."""
    labels = ["create_session", "create_model", "result:create_model"]
    labels += ["unload_model", "result:unload_model", "finish", "session_heartbeat"]
    for step in what.steps:
        labels += _REACHES.get(step.verb, ())
        if step.verb == "create" and step.source is not None:
            labels += _REACHES["load"]
        if step.verb == "save" and step.taken:
            labels.append("checkpoints")
    return list(dict.fromkeys(labels))


def program(seed: int) -> Program:
    """Return the program of ``seed``."""
    rng = random.Random(f"program {seed}")
    clients = rng.choice((1, 1, 1, 2, 2, 3))
    steps = [_create(rng, slot) for slot in range(clients)]
    steps += [_step(rng, rng.randrange(clients)) for _ in range(rng.randint(3, 11))]
    return Program(
        steps,
        latency=rng.choice((0.0, 0.0, 0.5, 3.0, 30.0)),
        direct=rng.random() < 0.15,
        careful=rng.random() < 0.7,
        send_timeout=rng.choice((10.0, 30.0, 30.0, 100.0)),
        shared=rng.random() < 0.2,
        heals=rng.random() < 0.85,
    )


def _step(rng: random.Random, slot: int) -> Step:
    if rng.random() < 0.7:
        return _training(rng, slot)
    verb: Verb = rng.choice(("load", "info", "unload", "wait", "wait", "sleep", "end", "hit", "leaks", "create"))
    match verb:
        case "create":
            return _create(rng, slot)
        case "load":
            source: Source = rng.choice(("base", "saved", "saved", "broken", "missing"))
            return _patient(rng, Step("load", slot, source, rng.random() < 0.5, rng.random() < 0.3))
        case "info" | "unload":
            return _patient(rng, Step(verb, slot))
        case "sleep":
            return Step("sleep", seconds=rng.choice((0.1, 1.0, 8.0, 40.0, 320.0)))
        case "end":
            return Step("end", slot, how=rng.choice(("stop", "kill", "crash")))
        case "hit":
            target: Target = rng.choice(("reaper", "reaper", "supervisor", "service", "owner"))
            return Step("hit", target=target, how=rng.choice(("stop", "kill", "crash")))
        case _:
            return Step(verb)


def _training(rng: random.Random, slot: int) -> Step:
    verb: Verb = rng.choice(("forward_backward", "forward_backward", "optim_step", "optim_step", *TRAINING))
    rows = rng.choice((1, 1, 2, 3, 5)) if verb.startswith("forward") else 1
    return _patient(rng, Step(verb, slot, rows=rows, taken=verb == "save" and rng.random() < 0.3))


def _create(rng: random.Random, slot: int) -> Step:
    source: Source | None = rng.choice((None, None, "base", "base", "saved", "broken", "missing"))
    step = Step("create", slot, source=source, optimizer=rng.random() < 0.5, owned=rng.random() < 0.2)
    return _patient(rng, step, drops=True)


def _patient(rng: random.Random, step: Step, *, drops: bool = False) -> Step:
    """Return ``step`` with how its caller waits for it."""
    fate = rng.random()
    seconds = rng.choice((0.2, 1.0, 5.0, 20.0, 45.0))
    if fate < 0.1:
        return msgspec.structs.replace(step, await_timeout=seconds, wait=rng.random() < 0.5)
    if fate < 0.15:
        return msgspec.structs.replace(step, ask_timeout=seconds)
    if fate < 0.22:
        return msgspec.structs.replace(step, cancel_after=rng.choice((0.0, seconds)))
    if fate < 0.26 and drops:
        return msgspec.structs.replace(step, drop=True)
    return msgspec.structs.replace(step, wait=rng.random() < 0.4)
