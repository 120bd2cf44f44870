"""The process of one background training: `tracewright runs start` starts `python -m pipeline.runs.process RUN`."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import psutil

from pipeline.core.errors import StorageError, TracewrightError
from pipeline.core.stop_signals import stop_request
from pipeline.runs.background import OUT, runs_folder, settings_of, wait_for_room
from pipeline.runs.launch import read_launch
from pipeline.tracking import mlflow_store


def main() -> int:
    """Returns the exit code, which launch.json has as well."""
    root = Path.cwd()
    folder = runs_folder(root) / sys.argv[1]
    launch = read_launch(folder)
    if launch is None:
        raise SystemExit(f"{folder}: has no launch.json; `tracewright runs start` begins one")
    own = psutil.Process()
    launch = replace(launch, phase="waiting", pid=os.getpid(), process_started_seconds=own.create_time())
    launch.write(folder)
    code, message = _ended(root, folder)
    if message:
        print(message, file=sys.stderr)
    replace(launch, phase="ended", exit_code=code, error=message).write(folder)
    return code


def _ended(root: Path, folder: Path) -> tuple[int, str | None]:
    """The exit code and, of what went wrong, the words."""
    try:
        _train(root, folder)
    except TracewrightError as error:
        return error.exit_code, str(error)
    except OSError as error:
        return StorageError.exit_code, f"{error.filename or 'file system'}: {error.strerror or error}"
    # A mistake of ours: the traceback goes to the log, and launch.json must still say how it ended.
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        return 1, f"{type(error).__name__}: {error}"
    return 0, None


def _train(root: Path, folder: Path) -> None:
    with stop_request() as stop:
        wait_for_room(mlflow_store.home(root), folder, stop.check)
        from pipeline.runs.session import (
            train_into,  # seconds of imports, and hundreds of megabytes, that who waits can spare
        )

        settings = settings_of(folder)
        stop.check()
        trained = train_into(folder / OUT, settings, root=root, run_id=folder.name, progress=False)
    print(f"trained {trained.report.total_timesteps} steps in {trained.report.seconds:.0f} s; {folder / OUT}")


if __name__ == "__main__":
    sys.exit(main())
