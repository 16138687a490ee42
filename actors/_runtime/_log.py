"""The logger of this package: structlog when the program configured it, else structlog over standard logging.

A library prints nothing by itself: unconfigured, events go to the standard logger ``tinkex``, whose debug and info
records nobody sees until the program asks for them. structlog is imported for the first event that somebody sees:
alone it costs a third of what the first step of a short program does.
"""

import functools
import logging
import sys
from typing import Any, Final

LOGGER_NAME = "tinkex"
_LOGGER: Final = logging.getLogger(LOGGER_NAME)
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Standard:
    """A logger of a program that did not configure structlog, so far; what it does later counts for later events."""

    __slots__ = ("_bound",)

    def __init__(self, bound: dict[str, Any]) -> None:
        self._bound = bound

    def debug(self, event: str, **facts: Any) -> None:
        self._tell("debug", event, facts)

    def info(self, event: str, **facts: Any) -> None:
        self._tell("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._tell("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        self._tell("error", event, facts)

    def bind(self, **bound: Any) -> "_Standard":
        return _Standard({**self._bound, **bound})

    def _tell(self, level: str, event: str, facts: dict[str, Any]) -> None:
        if _configured():
            logger = _structlog()
        elif _LOGGER.isEnabledFor(_LEVELS[level]):
            logger = _standard()
        else:
            return
        getattr(logger.bind(**self._bound), level)(event, **facts)


def log(**bound: Any) -> Any:
    """Return a logger with ``bound`` as context, with structlog's ``debug``, ``info``, ``warning`` and ``error``."""
    return _structlog().bind(**bound) if _configured() else _Standard(bound)


def debugging() -> bool:
    """Whether anybody may want debug events; cheaper to ask than to have each event made and dropped."""
    return _configured() or _LOGGER.isEnabledFor(logging.DEBUG)


def _configured() -> bool:
    if "structlog" not in sys.modules:  # so nobody configured it
        return False
    import structlog  # noqa: PLC0415 - see above; another thread may be in the midst of it, so this waits

    return structlog.is_configured()


def _structlog() -> Any:
    import structlog  # noqa: PLC0415 - see above

    return structlog.get_logger(LOGGER_NAME)


@functools.cache
def _standard() -> Any:
    import structlog  # noqa: PLC0415 - see above

    return structlog.wrap_logger(
        _LOGGER,
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
    )
