"""The ``tinkex`` command: an embedded engine to serve, and the main job to see."""

from tinkex.cli._main import main

__all__ = ["main"]
