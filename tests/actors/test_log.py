"""Events of a program that did not configure structlog, and what they cost one that listens to none."""

import logging
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from support_genserver import unconfigured_logs
from tinkex.actors._runtime._log import debugging, log


def told(code: str) -> subprocess.CompletedProcess[str]:
    whole = f"import sys\nfrom tinkex.actors._runtime._log import debugging, log\n{code}"
    return subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True, timeout=60)


def test_events_that_nobody_hears_load_no_structlog() -> None:
    code = "log(actor='A').info('started', n=1); log().debug('sending'); print(debugging(), 'structlog' in sys.modules)"
    done = told(code)
    assert (done.stdout.split(), done.stderr) == (["False", "False"], "")


def test_a_warning_is_heard_by_default_with_its_context() -> None:
    done = told("log(actor='A').bind(actor_urn='u').warning('paused', reason='busy')")
    assert done.stderr.startswith("event='paused' ")
    assert {"actor='A'", "actor_urn='u'", "reason='busy'", "level='warning'"} <= set(done.stderr.split())


def test_what_the_program_listens_to_is_heard_with_its_level(caplog: pytest.LogCaptureFixture) -> None:
    with unconfigured_logs(), caplog.at_level(logging.DEBUG, "tinkex"):
        logger = log(actor="A")
        assert debugging()
        for level in ("debug", "info", "warning", "error"):
            getattr(logger, level)(f"a {level}")
    assert [(record.levelname.lower(), record.name) for record in caplog.records] == [
        (level, "tinkex") for level in ("debug", "info", "warning", "error")
    ]
    assert "event='a info'" in caplog.text


def test_a_level_renamed_by_the_program_is_heard_too() -> None:
    code = "import logging; logging.addLevelName(30, 'WARN!'); log().warning('paused')"
    assert "event='paused'" in told(code).stderr


def test_a_crash_is_told_with_its_traceback() -> None:
    code = "try: 1 / 0\nexcept ZeroDivisionError as error: log().error('actor crashed', exc_info=error)"
    done = told(code)
    assert "event='actor crashed'" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_a_logger_made_before_structlog_was_configured_goes_where_that_says() -> None:
    with unconfigured_logs():
        logger = log(actor="A")
        with capture_logs() as events:  # configures it
            assert debugging()
            logger.bind(n=1).debug("sending")
            log(actor="B").info("started")
    assert events == [
        {"actor": "A", "n": 1, "event": "sending", "log_level": "debug"},
        {"actor": "B", "event": "started", "log_level": "info"},
    ]
