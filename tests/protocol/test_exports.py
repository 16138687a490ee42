import subprocess
import sys
from types import ModuleType

import pytest

from tinkex import protocol
from tinkex.protocol import messages, replies, wire

HEAVY = ("numpy", "httpx", "structlog", "torch", "pykka", "litestar", "click")


@pytest.mark.parametrize("module", [protocol, messages, replies, wire])
def test_a_package_exports_what_it_says_in_order(module: ModuleType) -> None:
    assert list(module.__all__) == sorted(module.__all__, key=lambda name: (name[0].islower(), name))
    for name in module.__all__:
        assert getattr(module, name).__doc__ or isinstance(getattr(module, name), object)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_loads_nothing_heavy() -> None:
    code = f"import sys, tinkex.protocol; print([m for m in {HEAVY} if m in sys.modules])"
    assert run(code) == "[]"


def test_lists_of_numbers_cross_the_wire_without_numpy() -> None:
    code = """
import sys
from tinkex.protocol import Datum, ModelInput, wire
data = [Datum(ModelInput.from_ints([1, 2]), {"target_tokens": [2, 3], "weights": [0.5, 1.0]})]
body = wire.ForwardBackwardRequest(wire.ForwardBackwardInput(data, "cross_entropy"), "m", 1)
assert wire.decode(wire.encode(body), wire.ForwardBackwardRequest) == body
print("numpy" in sys.modules)
"""
    assert run(code) == "False"


def test_arrays_are_read_without_importing_torch() -> None:
    code = """
import sys, numpy
from tinkex.protocol import TensorData
TensorData(numpy.ones(3))
print("torch" in sys.modules)
"""
    assert run(code) == "False"


def test_star_import_gives_the_names() -> None:
    names: dict[str, object] = {}
    exec("from tinkex.protocol import *", names)
    assert set(protocol.__all__) <= set(names)
