"""Where the engine computes, and that each base model is loaded once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tinkex.engine import Engine, EngineConfig, EngineError
from tinkex.engine._base._catalogue import builtin
from tinkex.engine._compute._base_models import BaseModels, choose_device


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Pretend that there is a CUDA device; note what is set."""
    noted: dict[str, Any] = {}

    def note(name: str) -> Callable[..., None]:
        def take(**values: bool) -> None:
            noted[name] = values

        return take

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", note("deterministic"))
    monkeypatch.setattr(torch.backends.cuda, "enable_flash_sdp", note("flash"))
    monkeypatch.setattr(torch.backends.cuda, "enable_mem_efficient_sdp", note("lean"))
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    return noted


def test_cuda_is_taken_where_there_is_one_and_made_deterministic(cuda: dict[str, Any]) -> None:
    assert choose_device("cpu") == "cpu"
    assert cuda == {}
    assert choose_device("auto") == choose_device("cuda") == "cuda"
    assert cuda == {"deterministic": {"mode": True}, "flash": {"enabled": False}, "lean": {"enabled": False}}
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_cuda_that_is_not_there_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(EngineError, match="there is no CUDA device"):
        Engine(EngineConfig(tmp_path / "root", device="cuda")).open()
    assert not (tmp_path / "root").exists(), "nothing was begun"


def test_a_base_model_is_loaded_once() -> None:
    models = BaseModels("cpu")
    assert models.get(builtin()) is models.get(builtin())
