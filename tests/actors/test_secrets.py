"""The API key never shows: not in logs, reprs, errors, tracebacks, nor in the engine's files."""

import subprocess
import sys
from pathlib import Path

SECRET = "tml-planted-5f2c1e9d"

PROGRAM = """
import sys, traceback
from tinkex.actors import ServiceClient
from tinkex.protocol import Err, messages

service = ServiceClient.start(base_url=sys.argv[1], api_key=sys.argv[2])
print(repr(service), service)
print(repr(service.ask(messages.Status())), repr(service.ask(messages.GetServerCapabilities())))
down = ServiceClient.start(base_url="http://127.0.0.1:9", api_key=sys.argv[2], send_timeout=0.2)
failed = down.ask(messages.GetServerCapabilities())
print(repr(failed), failed.error.to_dict())
try:
    failed.unwrap()
except Exception:
    traceback.print_exc()
try:
    ServiceClient.start(base_url="http://far.example", api_key=sys.argv[2])
except Exception:
    traceback.print_exc()
"""


def test_a_planted_key_shows_nowhere_after_a_full_demo_at_debug_level(tmp_path: Path) -> None:
    root = tmp_path / "engine"
    key_file = tmp_path / "key"
    key_file.write_text(SECRET)
    serve = [sys.executable, "-m", "tinkex.cli", "serve", "--port", "0", "--root", str(root)]
    serve += ["--key-file", str(key_file), "--log-level", "debug"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        url = engine.stdout.readline().removeprefix("tinkex engine: ").strip()
        assert url.startswith("http://127.0.0.1:")
        demo = [sys.executable, "-m", "tinkex.cli", "demo", "--base-url", url, "--steps", "20", "--more", "2"]
        demo += ["--plot", str(tmp_path / "loss.png"), "--log-level", "debug"]
        environment = {"PATH": "/usr/bin:/bin", "TINKER_API_KEY": SECRET, "HOME": str(tmp_path)}
        shown = subprocess.run(demo, env=environment, capture_output=True, text=True, timeout=100, check=False)
        assert shown.returncode == 0, shown.stderr[-2000:]
        assert "http" in shown.stderr, "debug logs were on"
        wrong = subprocess.run(
            demo,
            env={**environment, "TINKER_API_KEY": "tml-wrong"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert wrong.returncode == 3
        assert "401" in wrong.stderr
        own = [sys.executable, "-c", PROGRAM, url, SECRET]
        program = subprocess.run(own, capture_output=True, text=True, timeout=60, check=True)
        engine.terminate()
        out, errors = engine.communicate(timeout=30)
        assert engine.returncode == 0
    for text in (out, errors, shown.stdout, shown.stderr, wrong.stderr, program.stdout, program.stderr):
        assert SECRET not in text
    files = [path for path in root.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
