"""The log of the command, on stderr."""

from __future__ import annotations

import datetime
import json
import logging

import click

from carrick.cli.options import Settings

__all__ = ["set_up_logging"]


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = datetime.datetime.fromtimestamp(record.created)
        line = f"{when:%H:%M:%S}.{when.microsecond // 1000:03} {record.levelname.lower():7} "
        return _with_traceback(self, record, f"{line} {record.name}: {record.getMessage()}")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            click.echo(self.format(record), err=True)
        except Exception:
            self.handleError(record)


def set_up_logging(settings: Settings) -> None:
    """Warnings; with -v what happens, with -vv everything, with -q only errors."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(settings.verbosity, 2)]
    handler = _Handler()
    handler.setFormatter(_Json() if settings.log_format == "json" else _Text())
    logger = logging.getLogger("carrick")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.ERROR if settings.quiet else level)


def _with_traceback(formatter: logging.Formatter, record: logging.LogRecord, line: str) -> str:
    return f"{line}\n{formatter.formatException(record.exc_info)}" if record.exc_info else line
