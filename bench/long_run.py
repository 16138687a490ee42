"""The run of docs/guides/long_runs.md: learn to reverse strings with the shell alone, killed twice on the way.

Writes the figures and the plot of the guide. Beside it runs the same configuration undisturbed, for the comparison.
"""

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tinkex.actors import DatasetProgram, RunFolder, ServiceClient, committed_sequence, read_updates
from tinkex.cli._config._train_config import load_config
from tinkex.cli._config._train_program import build_program
from tinkex.cli._data._reverse_rows import make_reverse_rows
from tinkex.cli._servers._engine_process import engine_process
from tinkex.protocol import messages

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs/guides/long_runs.md"
PLOT = ROOT / "docs/guides/long_runs.png"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
TINKEX = [sys.executable, "-m", "tinkex.cli"]
HELD_OUT = 200
CONFIG = """\
[model]
rank = 32

[data]
path = "reverse.jsonl"

[training]
batch_size = 32
updates = 600

[schedule]
learning_rate = 1e-2
kind = "cosine"
warmup_updates = 20
final_fraction = 0.05
grad_clip_norm = 1.0

[checkpoints]
every_updates = 50
"""


class Shell:
    """Runs the command in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str) -> str:
        done = subprocess.run([*TINKEX, *words], cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"tinkex {' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def until(self, words: list[str], last: int | None = None) -> int:
        """Run a command to its end, or kill it with its group from update ``last`` on; return the update it was at."""
        process = subprocess.Popen(
            [*TINKEX, *words, "--json"], cwd=self.folder, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout is not None
        update = 0
        with process:
            for line in process.stdout:
                told: dict[str, Any] = json.loads(line)
                update = told.get("update") or update
                if last is not None and update >= last:
                    os.killpg(process.pid, signal.SIGKILL)
                    break
        if process.returncode not in (0, -signal.SIGKILL):
            sys.exit(f"tinkex {' '.join(words)}: status {process.returncode}")
        return update


def tensors(folder: Path, path: str) -> list[bytes]:
    """Return the tensor files of a checkpoint of the engine in ``folder``."""
    database = sqlite3.connect(folder / "engine.sqlite3")
    ((name,),) = database.execute("SELECT folder FROM checkpoints WHERE path = ?", (path,)).fetchall()
    database.close()
    return [file.read_bytes() for file in sorted((folder / "checkpoints" / name).glob("*.safetensors"))]


def held_out(folder: Path, path: str) -> float:
    """Return the share of strings that were never trained on whose every letter the checkpoint thinks most likely."""
    trained = {json.loads(line)["prompt"] for line in (folder / "reverse.jsonl").read_text().splitlines()}
    rows = [row for row in make_reverse_rows(4 * HELD_OUT, 1) if row["prompt"] not in trained][:HELD_OUT]
    (folder / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = load_config(folder / "reverse.toml", ["data.path=held_out.jsonl", "data.shuffle=false"], folder=folder)
    with engine_process(folder / "runs" / "engine") as url, ServiceClient.open(base_url=url) as service:
        client = service.ask(messages.CreateTrainingClientFromState(path)).unwrap()
        tokenizer = client.ask(messages.GetInfo()).unwrap().tokenizer_id
        program: DatasetProgram = build_program(config, tokenizer)
        right = total = 0
        cursor: Any = program.first_cursor()
        while total < len(rows):
            batch = program.batch(cursor)
            assert batch is not None
            cursor = batch.cursor
            for micro in batch.micro_batches:
                output = client.ask(messages.Forward(micro)).unwrap()
                for datum, found in zip(micro, output.loss_fn_outputs, strict=True):
                    weights = datum.loss_fn_inputs["weights"].to_numpy()
                    right += bool((found["logprobs"].to_numpy()[weights > 0] > -0.6931).all())
                    total += 1
    return right / total


def draw(folder: Path, kills: list[int]) -> None:
    """Draw the committed losses and where the run was killed."""
    losses = [(item.update, item.loss) for item in committed_sequence(RunFolder(folder / "runs", "reverse").events)]
    figure: Any = Figure(figsize=(8, 4), dpi=100)
    axes = figure.subplots()
    axes.plot(*zip(*losses, strict=True), linewidth=1)
    for kill in kills:
        axes.axvline(kill, color="tab:red", linestyle="--", linewidth=1, label="kill -9")
    axes.set_xlabel("update")
    axes.set_ylabel("loss, nats per learned token")
    axes.legend(*[items[:1] for items in axes.get_legend_handles_labels()])
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Software": None})


def run_twice_killed(shell: Shell, updates: int) -> tuple[list[int], list[str], float]:
    """Run ``reverse``; return where it was killed, what ``why`` said then, and how long all took."""
    began = time.monotonic()
    kills: list[int] = []
    whys: list[str] = []
    for words, part in ((["train", "reverse.toml", "--engine"], 0.29), (["resume", "reverse"], 0.64)):
        kills.append(shell.until(words, int(part * updates)))
        whys.append(shell("why", "reverse"))
        print(f"killed behind update {kills[-1]}: {whys[-1]}")
    shell.until(["resume", "reverse"])
    return kills, whys, time.monotonic() - began


def compare(folder: Path) -> dict[str, bool]:
    """Return each claim about the killed run and the undisturbed one, and whether it holds."""
    runs = {name: RunFolder(folder / "runs", name) for name in ("reverse", "undisturbed")}
    sequences = {
        name: [(item.update, item.loss_sum, item.rows) for item in committed_sequence(run.events)]
        for name, run in runs.items()
    }
    last = {name: run.read_manifest(run.manifest_names()[-1]).path for name, run in runs.items()}
    engine = folder / "runs" / "engine"
    replayed = [items for items in read_updates(runs["reverse"].events).values() if len(items) > 1]
    return {
        f"{len(replayed)} updates were done twice, and each had the same loss again": all(
            len({item.loss_sum for item in items}) == 1 for items in replayed
        ),
        f"losses and rows of all {len(sequences['reverse'])} updates are those of an undisturbed run": sequences[
            "reverse"
        ]
        == sequences["undisturbed"],
        "adapter and optimizer of the last checkpoint are the same bytes": tensors(engine, last["reverse"])
        == tensors(engine, last["undisturbed"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "out/long_run")
    parser.add_argument("--updates", type=int, default=600, help="a short form is for trying the script")
    parser.add_argument("--write", action="store_true", help="write the figures and the plot of the guide")
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    shell = Shell(given.folder)
    (given.folder / "reverse.toml").write_text(CONFIG.replace("updates = 600", f"updates = {given.updates}"))
    print(shell("example-data", "reverse", "reverse.jsonl", "--rows", "20000"))
    kills, whys, seconds = run_twice_killed(shell, given.updates)
    shell.until(["train", "reverse.toml", "--engine", "--name", "undisturbed"])
    claims = compare(given.folder)
    run = RunFolder(given.folder / "runs", "reverse")
    share = held_out(given.folder, run.read_manifest(run.manifest_names()[-1]).path)
    losses = {item.update: item.loss or 0.0 for item in committed_sequence(run.events)}
    marks = sorted({1, *(given.updates * part // 6 for part in range(1, 7))})
    summary = (
        f"The run took {seconds:.0f} s on {os.cpu_count()} cores, restarts included. It was killed behind updates "
        f"{' and '.join(map(str, kills))}, and `why` said:"
    )
    told = [
        summary,
        "",
        "```text",
        *whys,
        "```",
        "",
        "| update | " + " | ".join(str(mark) for mark in marks) + " |",
        "|---" * (len(marks) + 1) + "|",
        "| loss | " + " | ".join(f"{losses[mark]:.4f}" for mark in marks) + " |",
        "",
        *(f"- {claim}: {'yes' if holds else 'NO'}" for claim, holds in claims.items()),
        f"- of {HELD_OUT} strings that it had never seen it reverses {share:.0%}: each letter, given those before",
        "",
    ]
    text = "\n".join(told)
    print(text)
    if given.write:
        draw(given.folder, kills)
        before, _, rest = GUIDE.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        GUIDE.write_text(f"{before}{BEGIN}{text}{END}{after}")
    if not all(claims.values()):
        sys.exit("the killed run is not the undisturbed one")


if __name__ == "__main__":
    main()
