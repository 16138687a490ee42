"""The logger of this package: structlog when the program configured it, else structlog over standard logging.

A library prints nothing by itself: unconfigured, events go to the standard logger ``tinkex``, whose debug and info
records nobody sees until the program asks for them.
"""

import functools
import logging
from typing import Any

LOGGER_NAME = "tinkex"


def log(**bound: Any) -> Any:
    """Return a structlog logger with ``bound`` as context."""
    import structlog  # noqa: PLC0415 - only when the first event happens: importing tinkex stays light

    logger = structlog.get_logger(LOGGER_NAME) if structlog.is_configured() else _standard()
    return logger.bind(**bound) if bound else logger


def debugging() -> bool:
    """Whether anybody may want debug events; cheaper to ask than to have each event made and dropped."""
    import structlog  # noqa: PLC0415 - see above

    return structlog.is_configured() or logging.getLogger(LOGGER_NAME).isEnabledFor(logging.DEBUG)


@functools.cache
def _standard() -> Any:
    import structlog  # noqa: PLC0415 - see above

    return structlog.wrap_logger(
        logging.getLogger(LOGGER_NAME),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
    )
