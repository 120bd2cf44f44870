"""What every stage ends with: an error in one sentence and its exit code, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pipeline.core.errors import Stopped, StorageError, TracewrightError
from pipeline.core.stop_signals import sigterm_when_parent_ends, stop_on_sigterm


def run(main: Callable[[], None]) -> NoReturn:
    """Run a stage and exit the process with 0 or the error's code."""
    stage = Path(sys.argv[0]).stem
    stop_on_sigterm()
    if "DVC_STAGE" in os.environ:
        sigterm_when_parent_ends()  # SIGTERM ends DVC but not what it runs, which would go on unseen
    try:
        main()
    except TracewrightError as error:
        code, message = error.exit_code, str(error)
    except KeyboardInterrupt:
        code, message = Stopped.exit_code, "stopped on request; `make repro` starts this stage again"
    except OSError as error:
        code, message = StorageError.exit_code, f"{error.filename or 'file system'}: {error.strerror or error}"
    else:
        sys.exit(0)
    print(f"{stage}: {message}", file=sys.stderr)
    sys.exit(code)
