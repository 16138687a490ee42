"""Telling of a bug in a callback without ending the thread that serves all callbacks."""

import threading


def report(error: BaseException) -> None:
    """Hand ``error`` to ``threading.excepthook``, as if it had ended the current thread."""
    threading.excepthook(
        threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
    )
