"""On the path of Python (PYTHONPATH), it makes unpickling an error in every process that is started from then on.

What was tried is also noted, a line each, in the file that TRACEWRIGHT_UNPICKLED names, for a broad except may swallow
the error; and so is every process that has the hook.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOTES = Path(os.environ["TRACEWRIGHT_UNPICKLED"])


class UnpicklingForbidden(RuntimeError):
    """Something was about to be unpickled."""


def note(line: str) -> None:
    with NOTES.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def forbid(what: str) -> None:
    caller: Any = sys._getframe(2)
    note(f"{what} called by {caller.f_code.co_filename}:{caller.f_lineno}")
    raise UnpicklingForbidden(what)


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    """A class or function that a pickle names, which is how it runs code; and marshal, but for imports."""
    if event == "pickle.find_class":
        forbid(f"pickle of {arguments[0]}.{arguments[1]}")
    if event in ("marshal.loads", "marshal.load") and "importlib" not in sys._getframe(1).f_code.co_filename:
        forbid("marshal")


def forbidden(name: str) -> Callable[..., Any]:
    return lambda *_, **__: forbid(name)


pickle.load = forbidden("pickle.load")  # of what names nothing, too, which the hook does not see
pickle.loads = forbidden("pickle.loads")
sys.addaudithook(hook)
note(f"hook in {' '.join(sys.orig_argv)}")
