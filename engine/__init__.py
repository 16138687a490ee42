"""The embedded Tinker-compatible service: HTTP face, durable store, compute."""

from tinkex.engine._base._catalogue import BUILTIN_MODEL
from tinkex.engine._base._config import EngineConfig
from tinkex.engine._base._errors import EngineError
from tinkex.engine._base._fault_plan import FaultPlan
from tinkex.engine._base._layout import LORA_ALPHA
from tinkex.engine._http._server import EngineThread, app, running_engine, serve
from tinkex.engine._service._engine import Engine

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
