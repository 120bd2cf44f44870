"""What the fault tests counted: lines of JSON in the file that TRACEWRIGHT_TALLY names, for docs/reliability.md."""

from __future__ import annotations

import json
import os
from pathlib import Path


def tally(what: str, **counted: float) -> None:
    """Without that variable nothing is written."""
    if path := os.environ.get("TRACEWRIGHT_TALLY"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, **counted}) + "\n")
