"""Stoker's loggers stay on, whatever an application's configuration of logging does to those that it does not name."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Iterator

import pytest

from stoker.topology.own_loggers import keep_loggers_on

CONFIGURATION = {"version": 1, "handlers": {}, "loggers": {"shop": {"level": "DEBUG"}}}


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of Stoker's own, as a module of it makes one; others are put back as they were."""
    manager = logging.root.manager
    before = {name: found for name, found in manager.loggerDict.items() if isinstance(found, logging.Logger)}
    classes = {name: type(found) for name, found in before.items()}
    disabled = {name: found.disabled for name, found in before.items()}
    yield logging.getLogger("stoker.tests.own")
    for name, found in before.items():
        found.__class__ = classes[name]
        found.disabled = disabled[name]


def test_a_configuration_that_disables_existing_loggers_leaves_ours_on(logger: logging.Logger) -> None:
    """Before and after; the application's own are its own business."""
    others = logging.getLogger("shop_of_tests")
    logging.config.dictConfig(CONFIGURATION)
    assert logger.disabled
    keep_loggers_on()
    assert not logger.disabled
    logging.config.dictConfig(CONFIGURATION)
    keep_loggers_on()
    assert not logger.disabled
    assert logger.isEnabledFor(logging.ERROR)
    assert others.disabled


def test_levels_stay_the_applications(logger: logging.Logger) -> None:
    """Whoever wants less of us says so by a level."""
    keep_loggers_on()
    logging.config.dictConfig({**CONFIGURATION, "loggers": {"stoker.tests.own": {"level": "ERROR"}}})
    assert not logger.isEnabledFor(logging.WARNING)
    assert logger.isEnabledFor(logging.ERROR)


class Unreachable(logging.Handler):
    """Sends lines to a server that is away, and does not catch that."""

    def emit(self, record: logging.LogRecord) -> None:
        """Fail."""
        raise ConnectionError(f"nobody takes {record.getMessage()}")


def test_a_handler_that_raises_loses_a_line_and_nothing_else(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worker logs where it settles jobs and polls, which must go on; stderr has the line and why it is lost."""
    handler = Unreachable()
    logger.addHandler(handler)
    keep_loggers_on()
    try:
        logger.error("job %d failed", 7)
    finally:
        logger.removeHandler(handler)
    shown = capsys.readouterr().err
    assert "ConnectionError: nobody takes job 7 failed" in shown
    assert "job %d failed" in shown
