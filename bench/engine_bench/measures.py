"""What is measured; each function returns rows of the table."""

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from engine_bench.rival import bare
from engine_bench.served import Engine, User, engine
from engine_bench.shapes import LARGER, SMALL, Shape
from tinkex.protocol.wire.protobuf import decode_result

SKYRL = {"forward_backward": 160.0, "optim_step": 160.0, "save": 280.0, "restore": 3800.0}
"""Milliseconds, of SkyRL 0.3.0 (JAX) over a model of 107,000 parameters, CPU."""

Row = tuple[str, str, str, str]


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def median_of(work: Callable[[], Any], times: int) -> float:
    found: list[float] = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def verdict(value: float, bar: float) -> str:
    return "met" if value <= bar else "missed"


def checkpoint_folder(root: Path) -> Path:
    """Return the newest checkpoint's folder."""
    return max((root / "checkpoints").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)


def steps(served: Engine, root: Path, models: Path, shape: Shape, base: str, rounds: int) -> list[Row]:
    """Steps through HTTP and steps of the bare loop, alternating, their losses asserted equal."""
    user = User(served.url, base, shape)
    user.create()
    user.save(f"begin-{shape.name}")
    adapter = checkpoint_folder(root)
    ours: dict[str, list[float]] = {"fb": [], "optim": []}
    theirs: dict[str, dict[str, list[float]]] = {kind: {"fb": [], "optim": []} for kind in ("single", "batch")}
    with bare(shape, models / shape.name, adapter) as single, bare(shape, models / shape.name, adapter) as batch:
        for number in range(rounds):
            begin = time.perf_counter()
            result = user.forward_backward()
            passed = time.perf_counter()
            user.optim_step()
            ended = time.perf_counter()
            loss = decode_result(result).metrics["loss:sum"]
            for kind, rival in (("single", single), ("batch", batch)):
                found = rival.step(kind)
                assert abs(found["loss"] - loss) <= 1e-3 * abs(loss), (number, kind, found["loss"], loss)
                if number:
                    for part in ("fb", "optim"):
                        theirs[kind][part].append(found[part])
            if number:  # the first warms up
                ours["fb"].append(passed - begin)
                ours["optim"].append(ended - passed)
    rows: list[Row] = []
    for part, name in (("fb", "forward_backward"), ("optim", "optim_step")):
        mine, one = statistics.median(ours[part]), statistics.median(theirs["single"][part])
        whole = statistics.median(theirs["batch"][part])
        if shape is LARGER:
            bar = f"at most 1.15x: {verdict(mine / one, 1.15)}"
        else:
            bar = f"at most 5 ms more: {verdict(mine - one, 5e-3)}"
        rows.append((f"{name}, {shape.name}", ms(mine), f"{ms(one)} ({mine / one:.2f}x)", bar))
        if part == "fb":
            rows.append(
                (
                    "the same, if the rival takes all rows in one pass",
                    ms(mine),
                    f"{ms(whole)} ({mine / whole:.2f}x)",
                    "",
                )
            )
        if shape is SMALL:
            rows.append((f"{name} against SkyRL", ms(mine), f"{SKYRL[name]:.0f} ms", fourfold(mine, name)))
    both, pair = (statistics.median(map(sum, zip(*found.values(), strict=True))) for found in (ours, theirs["single"]))
    bar = f"at most 1.15x: {verdict(both / pair, 1.15)}" if shape is LARGER else ""
    rows.append((f"a whole step, {shape.name}", ms(both), f"{ms(pair)} ({both / pair:.2f}x)", bar))
    return rows


def fourfold(mine: float, name: str) -> str:
    ratio = SKYRL[name] / (mine * 1e3)
    return f"4x faster: {'met' if ratio >= 4 else 'missed'} ({ratio:.0f}x)"


def start(root: Path, models: Path, folder: Path | None, base: str, shape: Shape) -> list[Row]:
    """From the start of a process to its first health, its first model, and what a bare script needs."""
    healths: list[float] = []
    readies: list[float] = []
    bares: list[float] = []
    for number in range(5):
        begin = time.perf_counter()
        command = [sys.executable, "-m", "engine_bench.imports", *([str(folder)] if folder else [])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        bares.append(time.perf_counter() - begin)
        with engine(root / f"start-{number}", models) as served:
            assert httpx.get(f"{served.url}/api/v1/healthz").status_code == 200
            healths.append(time.perf_counter() - served.begin)
            User(served.url, base, shape).create()
            readies.append(time.perf_counter() - served.begin)
    health, ready, rival = map(statistics.median, (healths, readies, bares))
    what = "built-in model" if folder is None else "model of a folder"
    return [
        (f"start to healthz, {what}", ms(health), "", f"within 1 s: {verdict(health, 1.0)}"),
        (f"start to first model, {what}", ms(ready), f"{ms(rival)} ({ready / rival:.2f}x)", ready_bar(ready, rival)),
    ]


def ready_bar(ready: float, rival: float) -> str:
    return f"at most 1.2x: {verdict(ready / rival, 1.2)}"


def persistence(served: Engine, shape: Shape) -> list[Row]:
    """Save and restore of a rank-32 checkpoint with its optimizer, through HTTP, fsync included."""
    user = User(served.url, shape.name, shape, rank=32)
    user.create()
    user.forward_backward()
    user.optim_step()
    names = iter(range(1000))
    save = median_of(lambda: user.save(f"s-{next(names)}"), 15)
    path = user.save("to-restore")
    restored: list[str] = []
    restore = median_of(lambda: restored.append(user.restore(path)), 15)
    for model_id in restored:
        user.ask("unload_model", {"model_id": model_id})
    return [
        ("save, larger, rank 32", ms(save), "", f"at most 50 ms: {verdict(save, 0.05)}"),
        ("save against SkyRL", ms(save), "280 ms", fourfold(save, "save")),
        ("restore into a new model, larger, rank 32", ms(restore), "", f"at most 50 ms: {verdict(restore, 0.05)}"),
        ("restore against SkyRL", ms(restore), "3800 ms", fourfold(restore, "restore")),
    ]


def memory(served: Engine, shape: Shape) -> list[Row]:
    """64 adapters with gradients and moments, and what is left of them."""
    user = User(served.url, shape.name, shape, rank=32)
    user.create()
    user.forward_backward()
    user.optim_step()
    user.ask("unload_model", {"model_id": user.model_id})
    # Memory that a virtual machine never used before is slow to touch, which is no matter of adapters.
    np.ones(1 << 28).sum()
    before, created, adapters = served.rss(), list[float](), list[str]()
    for _ in range(64):
        begin = time.perf_counter()
        adapters.append(user.create())
        created.append(time.perf_counter() - begin)
    for adapter in adapters:
        user.model_id = adapter
        user.forward_backward()
        user.optim_step()
    held = user.http.get("healthz").json()["adapter_bytes"]
    grown = served.rss() - before
    user.model_id = adapters[0]
    same = median_of(user.optim_step, 30)
    turns = iter(adapters * 2)

    def switch() -> None:
        user.model_id = next(turns)
        user.optim_step()

    switched = median_of(switch, 30)
    for adapter in adapters:
        user.ask("unload_model", {"model_id": adapter})
    left = served.rss()
    first, last = statistics.median(created[:5]), statistics.median(created[-5:])
    return [
        (
            "64 adapters of rank 32, larger",
            f"{grown / 2**20:.0f} MiB",
            f"{held / 2**20:.0f} MiB of tensors ({grown / held:.2f}x)",
            f"below 1.5x: {verdict(grown / held, 1.5)}",
        ),
        (
            "after unloading them",
            f"{left / 2**20:.0f} MiB",
            f"{before / 2**20:.0f} MiB before ({left / before:.2f}x)",
            f"within 1.2x: {verdict(left / before, 1.2)}",
        ),
        ("creating one, the last five of 64", ms(last), f"{ms(first)}, the first five", independent(last, first)),
        ("optim_step, another adapter each time", ms(switched), f"{ms(same)}, the same", independent(switched, same)),
    ]


def independent(value: float, other: float) -> str:
    return f"independent of their number: {verdict(value, 1.5 * other + 2e-3)}"


def tenants(served: Engine, shape: Shape, base: str) -> list[Row]:
    """Two clients with keys of their own together, against one alone; the median of alternating rounds."""
    users = [User(served.url, base, shape, key=f"tml-{name}") for name in ("one", "two")]
    for user in users:
        user.create()

    def work(user: User, steps_left: int) -> None:
        for _ in range(steps_left):
            user.forward_backward()
            user.optim_step()

    count = 6 if shape is LARGER else 40
    ratios: list[float] = []
    for _ in range(3):
        begin = time.perf_counter()
        work(users[0], 2 * count)
        alone = time.perf_counter() - begin
        threads = [threading.Thread(target=work, args=(user, count)) for user in users]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ratios.append(alone / (time.perf_counter() - begin))
    ratio = statistics.median(ratios)
    bar = f"at least 0.9x: {'met' if ratio >= 0.9 else 'missed'}"
    return [(f"throughput of two tenants, {shape.name}", f"{ratio:.2f}x", "of one's", bar)]


def sampling(served: Engine, shape: Shape, base: str) -> list[Row]:
    user = User(served.url, base, shape)
    session = {"session_id": user.session_id, "sampling_session_seq_id": 0, "base_model": base}
    sampler = user.post("create_sampling_session", session)["sampling_session_id"]
    numbers = iter(range(1000))
    seconds = median_of(lambda: user.sample(sampler, next(numbers), list(range(32)), 64), 5)
    return [(f"sampling 64 tokens, {shape.name}", ms(seconds), f"{64 / seconds:.0f} tokens/s", "")]
