"""The exceptions of tracewright, and the exit code each one ends a command with.

TracewrightError
├── SettingsError          64  params.yaml or a flag is wrong
├── DataError              65  no usable images, or a model or checkpoint that cannot be read
│   └── ImageRejected          one image is unusable; costs that image only
├── Unavailable            69  a program, server, model or port is unavailable
├── StorageError           74  a file or folder cannot be read or written
├── Stopped                75  stopped on request; what was done is kept
└── Mismatch               78  data or settings do not match what is to be continued

The codes are those of BSD's sysexits.h. Every message says what was wrong, where, and what to do.
"""

from __future__ import annotations

import re


class TracewrightError(Exception):
    """Base of all errors that are shown to the user in one sentence, without a traceback."""

    exit_code = 1


class SettingsError(TracewrightError):
    """A setting is unknown, missing or out of range."""

    exit_code = 64


class DataError(TracewrightError):
    """The data, a model or a checkpoint cannot be used."""

    exit_code = 65


class ImageRejected(DataError):
    """One image cannot be used; `reason` is a short stable word, the message says more."""

    def __init__(self, path: str, reason: str, detail: str) -> None:
        super().__init__(f"{path}: {reason}: {detail}")
        self.path = path
        self.reason = reason
        self.detail = detail


class Unavailable(TracewrightError):
    """Something outside tracewright that is needed is not there."""

    exit_code = 69


class StorageError(TracewrightError):
    """A file or folder cannot be read or written."""

    exit_code = 74


class Stopped(TracewrightError):
    """A signal asked the run to stop."""

    exit_code = 75


class Mismatch(TracewrightError):
    """Data or settings differ from those of the run to be continued."""

    exit_code = 78


def brief(error: BaseException) -> str:
    """The first line of what it says, without the user name and password of an address in it; else its type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"//[^/@\s]+@", "//", lines[0])
