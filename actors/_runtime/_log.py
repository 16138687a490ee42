"""The logger of this package: structlog when the program configured it, else structlog over standard logging.

A library prints nothing by itself: unconfigured, events go to the standard logger ``tinkex``, whose debug and info
records nobody sees until the program asks for them.
"""

import functools
import logging
import sys
from typing import Any

LOGGER_NAME = "tinkex"
_LOGGER = logging.getLogger(LOGGER_NAME)


def log(**bound: Any) -> Any:
    """Return a structlog logger with ``bound`` as context."""
    import structlog  # noqa: PLC0415 - only when the first event happens: importing tinkex stays light

    logger = structlog.get_logger(LOGGER_NAME) if structlog.is_configured() else _standard()
    return logger.bind(**bound) if bound else logger


def debugging() -> bool:
    """Whether anybody may want debug events; cheaper to ask than to have each event made and dropped."""
    structlog = sys.modules.get("structlog")  # whoever configured it has imported it
    return _LOGGER.isEnabledFor(logging.DEBUG) or (structlog is not None and bool(structlog.is_configured()))


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
