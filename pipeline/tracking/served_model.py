"""The trained agent as MLflow runs it: logged as this source file and the agent's folder, so nothing is unpickled.

MLflow executes this file when a model is logged and when it is loaded. Where it is served, tracewright must be
installed (`mlflow models serve --env-manager local`).
"""

from __future__ import annotations

import atexit
import base64
import binascii
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from pipeline.tracing.workers import TracerPool

TRACES = 8
"""Settings tried per image where a request names no number; the same as the command's."""


class ServedAgent(PythonModel):
    """Rows of `image` (base64 of a PNG, JPEG, ...), optionally `objective` and `traces`, to rows of SVG and scores."""

    def load_context(self, context: PythonModelContext) -> None:
        """Raises DataError or Mismatch when the agent cannot be used by this version of tracewright."""
        from pipeline.rl.agent import load_agent

        self._agent = load_agent(Path(context.artifacts["agent"]))
        self._pool: TracerPool | None = None
        self._one_at_a_time = threading.Lock()  # a server answers in threads, the pool belongs to one

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Raises MlflowException, which a server answers with 400, naming the row that cannot be vectorised."""
        from pipeline.errors import TracewrightError

        answers = []
        with self._one_at_a_time:
            for number, row in enumerate(model_input.to_dict(orient="records")):
                try:
                    answers.append(self._vectorize(row))
                except (TracewrightError, binascii.Error, ValueError) as error:
                    raise MlflowException.invalid_parameter_value(f"row {number}: {error}") from error
        return pd.DataFrame(answers)

    def _vectorize(self, row: dict[Any, Any]) -> dict[str, Any]:
        from pipeline.records import OBJECTIVES
        from pipeline.vectorize import vectorize_image_bytes, with_objective

        objective, traces = (None if pd.isna(row.get(name)) else row[name] for name in ("objective", "traces"))
        if objective not in (None, *OBJECTIVES):
            raise ValueError(f"objective {objective!r} is not one of {', '.join(OBJECTIVES)}")
        if traces is not None and not 1 <= traces <= 1000:
            raise ValueError(f"traces is {traces}; allowed is 1 to 1000")
        agent = with_objective(self._agent, objective, None)
        image = base64.b64decode(row["image"], validate=True)
        answer = vectorize_image_bytes(image, agent, self._tracers(), traces=int(traces or TRACES))
        return answer | {"params": json.dumps(answer["params"])}

    def _tracers(self) -> TracerPool:
        """Started at the first request, so that loading a model to look at it starts no process."""
        from pipeline.tracing.workers import TracerPool, worker_count

        if self._pool is None:
            self._pool = TracerPool(
                workers=worker_count(0),
                timeout_seconds=self._agent.timeout_seconds,
                worker_memory_bytes=self._agent.worker_memory_bytes,
                background=self._agent.background,
            )
            atexit.register(self._pool.close)
        return self._pool


set_model(ServedAgent())
