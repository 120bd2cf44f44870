"""What cannot be read, as a sentence to show instead of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.core.errors import TracewrightError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trouble:
    """text: what is wrong, where, and what to do."""

    text: str


def attempted(read: Callable[[], T]) -> T | Trouble:
    """What `read` gives, or why it cannot."""
    try:
        return read()
    except TracewrightError as error:
        return Trouble(str(error))
