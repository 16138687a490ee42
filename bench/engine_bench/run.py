"""Measures the engine against peft's documented loop, in one run: ``make bench-engine``.

Prints a table of medians and ratios, and writes it into docs/benchmarks.md with the machine it was made on.
"""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import transformers

from engine_bench import measures
from engine_bench.served import engine
from engine_bench.shapes import LARGER, SMALL, write_model
from tinkex.engine import BUILTIN_MODEL
from tinkex.engine._base._catalogue import DecoderConfig
from tinkex.engine._compute._model import Decoder

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- engine -->\n", "<!-- end of engine -->\n"


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    names = ("torch", "transformers", "peft", "litestar", "uvicorn")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {libraries}"


QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
"""What the libraries say while they load, in each process."""


def main() -> None:
    os.environ.update(QUIET)
    rows: list[measures.Row] = []
    with TemporaryDirectory(prefix="tinkex-bench-") as name:
        place = Path(name)
        models, empty = place / "models", place / "empty"
        empty.mkdir()
        write_model(LARGER, models)
        write_builtin(models)
        rows += measures.start(place / "a", empty, None, BUILTIN_MODEL, SMALL)
        rows += measures.start(place / "b", models, models / LARGER.name, LARGER.name, LARGER)
        with engine(place / "root", models) as served:
            rows += measures.steps(served, place / "root", models, SMALL, BUILTIN_MODEL, 60)
            rows += measures.steps(served, place / "root", models, LARGER, LARGER.name, 12)
            rows += measures.persistence(served, LARGER)
            rows += measures.tenants(served, SMALL, BUILTIN_MODEL)
            rows += measures.tenants(served, LARGER, LARGER.name)
            rows += measures.sampling(served, SMALL, BUILTIN_MODEL)
            rows += measures.sampling(served, LARGER, LARGER.name)
        with engine(place / "fresh", models) as served:
            rows += measures.memory(served, LARGER)
    lines = ["| what | engine, through HTTP | rival | bar |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    table = "\n".join(lines)
    print(f"\n{machine()}\n\n{table}")
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}Made on {machine()}.\n\n{table}\n{END}{after}")


def write_builtin(models: Path) -> None:
    """Write the built-in model as a folder, for the rival."""
    config = DecoderConfig()
    shape = {name: value for name, value in vars(config).items() if name not in {"seed", "initializer_range"}}
    qwen: Any = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**shape, tie_word_embeddings=False))
    qwen.load_state_dict(Decoder(config).state_dict())
    qwen.save_pretrained(models / SMALL.name)


if __name__ == "__main__":
    main()
