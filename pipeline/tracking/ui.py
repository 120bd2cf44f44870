"""`make ui`: MLflow's pages for the runs in mlruns/, on this machine only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipeline.core.errors import TracewrightError, Unavailable
from pipeline.machine.ports import is_free
from pipeline.settings.params import load_settings
from pipeline.tracking import mlflow_store

PORT = "5000"


def command(root: Path) -> list[str]:
    """MLflow's own command for the embedded database; MLFLOW_PORT names another port.

    Raises Unavailable when MLFLOW_TRACKING_URI names a server, which has its own pages, or when the port is taken.
    """
    uri = mlflow_store.tracking_uri(root)
    if uri.startswith(("http://", "https://")):
        raise Unavailable(f"runs are kept by the MLflow server at {mlflow_store.public(uri)}; open that address")
    port = os.environ.get("MLFLOW_PORT", PORT)
    if not (port.isdecimal() and is_free(int(port))):
        raise Unavailable(f"port {port} cannot be used; name another: MLFLOW_PORT=5001 make ui")
    mlflow_store.client(root)  # creates the database in one piece; MLflow's own creation could be interrupted
    listen = ["--host", "127.0.0.1", "--port", port, "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, *listen]


def address(root: Path, port: str) -> str:
    """The page with the models of this project; MLflow's default is its page for language models."""
    experiment = mlflow_store.connect(root, load_settings(root / "params.yaml").experiment).experiment_id
    return f"http://127.0.0.1:{port}/#/experiments/{experiment}/models?workflowType=machine_learning"


def main() -> int:
    try:
        line = command(Path.cwd())
        print(f"compare models at {address(Path.cwd(), line[line.index('--port') + 1])}", flush=True)
    except TracewrightError as error:
        print(f"ui: {error}", file=sys.stderr)
        return error.exit_code
    # Otherwise MLflow starts seven processes for jobs that we never submit.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    os.execv(line[0], line)


if __name__ == "__main__":
    sys.exit(main())
