"""The command as a newcomer meets it: the main job, and bad input in one sentence."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinkex.cli._servers._engine_process import engine_process

ROOT = Path(__file__).parents[2]


def tinkex(*words: str, timeout: float = 100.0, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TINK")}
    command = [sys.executable, "-m", "tinkex.cli", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, env={**environment, **variables}
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine_process(tmp_path_factory.mktemp("engine")) as address:
        yield address


def test_the_demo_ends_with_its_three_lines_and_a_plot(tmp_path: Path) -> None:
    plot = tmp_path / "loss.png"
    done = tinkex("demo", "--plot", str(plot), "--more", "5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == [
        "resume with optimizer: exact (0 of 5 losses differ)",
        "resume weights only: differs after the first optimizer step, as it must",
        "failed create-from-state: temporary client killed (actors 0, threads 0, polls 0, models on the server 0 left)",
    ]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "byte-unigram entropy" in done.stdout
    assert done.stderr == ""


def test_the_demo_runs_on_another_server_and_on_the_users_text_alike_each_time(url: str, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("the rain in spain stays mainly in the plain. " * 12)
    runs = [
        tinkex(
            *("demo", "--base-url", url, "--data", str(text), "--steps", "12", "--more", "2"),
            *("--plot", str(tmp_path / "p.png")),
        )
        for _ in range(2)
    ]
    for done in runs:
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith("failed create-from-state: refused, nothing left")
    losses = [[line for line in done.stdout.splitlines() if "loss" in line and "step" in line] for done in runs]
    assert losses[0] == losses[1], "two processes, the same losses"


def test_a_text_that_cannot_be_learned_fails_the_demo(url: str, tmp_path: Path) -> None:
    dull = tmp_path / "dull"
    dull.write_bytes(b"a" * 512)  # nothing is below its entropy, which is nothing
    done = tinkex(
        *("demo", "--base-url", url, "--data", str(dull), "--steps", "1", "--more", "2"),
        *("--plot", str(tmp_path / "p.png")),
    )
    assert done.returncode == 1
    assert "did not fall below the byte-unigram entropy" in done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("words", "variables", "status", "says"),
    [
        (["demo", "--data", "/no/such/file"], {}, 2, "--data /no/such/file cannot be read"),
        (["demo", "--plot", "/no/such/folder/p.png"], {}, 2, "there is no folder"),
        (["demo", "--base-url", "ftp://x"], {}, 2, "base_url"),
        (["demo", "--base-url", "https://127.0.0.2:9", "--steps", "0"], {}, 2, "--steps"),
        (["demo", "--base-url", "http://192.0.2.1"], {"TINKER_API_KEY": "tml-x"}, 2, "unencrypted"),
        (["demo", "--base-url", "https://example.invalid"], {}, 2, "TINKER_API_KEY"),
        (["demo", "--base-url", "http://127.0.0.1:1"], {"TINKER_API_KEY": "no key"}, 2, "key"),
        (["serve"], {}, 2, "--root"),
        (["serve", "--root", "/proc/no", "--port", "0"], {}, 2, "/proc/no"),
        (["serve", "--root", "ROOT", "--host", "0.0.0.0"], {}, 2, "key"),
        (["serve", "--root", "ROOT", "--key-file", "/no/key"], {}, 2, "--key-file"),
        (["serve", "--root", "ROOT", "--models", "/no/models"], {}, 2, "--models /no/models cannot be read"),
        (["serve", "--root", "ROOT", "--device", "tpu"], {}, 2, "--device"),
        (["serve", "--root", "ROOT", "--port", "0"], {"TINKEX_ENGINE_KEY": "a b"}, 2, "TINKEX_ENGINE_KEY"),
    ],
)
def test_bad_input_is_one_sentence_and_a_status(
    words: list[str], variables: dict[str, str], status: int, says: str, tmp_path: Path
) -> None:
    done = tinkex(*[str(tmp_path) if word == "ROOT" else word for word in words], timeout=30.0, **variables)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_is_down_is_said_within_seconds() -> None:
    done = tinkex("demo", "--base-url", f"http://127.0.0.1:{free_port()}", timeout=30.0)
    assert done.returncode == 3
    assert "could not reach the server" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_base_model_is_said(url: str) -> None:
    done = tinkex("demo", "--base-url", url, "--base-model", "no/such", timeout=60.0)
    assert done.returncode == 1
    assert "no/such" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said(url: str, tmp_path: Path) -> None:
    done = tinkex("serve", "--root", str(tmp_path), "--port", url.rpartition(":")[2], timeout=30.0)
    assert done.returncode == 2
    assert "port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_where_it_listens_and_ends_cleanly_on_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tinkex.cli", "serve", "--root", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("tinkex engine: http://127.0.0.1:")
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert errors == ""


def test_an_interrupted_demo_ends_with_its_engine_and_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "tinkex.cli", "demo", "--steps", "5000", "--plot", str(tmp_path / "p.png")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0, "the engine has ended"
    assert not (tmp_path / "p.png").exists()


def test_the_session_of_the_documents_runs_as_it_stands(url: str) -> None:
    script = ROOT / "tests" / "typing" / "session.py"
    done = subprocess.run([sys.executable, str(script), url], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "checkpoint-003" in done.stdout
