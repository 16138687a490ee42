"""The embedded Tinker-compatible service: HTTP face, durable store, compute."""

from tinkex.engine._catalogue import BUILTIN_MODEL
from tinkex.engine._config import EngineConfig
from tinkex.engine._engine import Engine
from tinkex.engine._errors import EngineError
from tinkex.engine._fault_plan import FaultPlan
from tinkex.engine._layout import LORA_ALPHA
from tinkex.engine._server import EngineThread, app, running_engine, serve

__all__ = [
    "BUILTIN_MODEL",
    "LORA_ALPHA",
    "Engine",
    "EngineConfig",
    "EngineError",
    "EngineThread",
    "FaultPlan",
    "app",
    "running_engine",
    "serve",
]
