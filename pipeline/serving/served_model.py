"""The trained agent as an MLflow model: logged as this source file and the agent's folder, so nothing is unpickled.

MLflow executes this file when a model is logged and when it is loaded. Where it is served, tracewright must be
installed (`mlflow models serve --env-manager local`, docs/serving.md).
"""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

IN_MLFLOWS_SERVER = "__pyfunc_model_path__"  # the variable by which MLflow's server knows its model
NO_FOLLOWING = "none"


class ServedAgent(PythonModel):
    """Rows of `image` (base64 of an image file), optionally `objective`, `max_damage`, `traces`, to SVGs and scores."""

    def load_context(self, context: PythonModelContext) -> None:
        """Raises DataError or Mismatch when the agent cannot be used by this version of tracewright, SettingsError when
        the service's variables are wrong.
        """
        from pipeline.serving.alias_watcher import AliasWatcher, model_of, origin
        from pipeline.serving.limits import settings_from
        from pipeline.serving.middleware import add_to_next_app
        from pipeline.serving.service import PredictionService

        agent_dir = Path(context.artifacts["agent"])
        self._service = PredictionService(model_of(agent_dir), settings_from())
        atexit.register(self._service.close)
        if IN_MLFLOWS_SERVER in os.environ:
            add_to_next_app(self._service)
            registered, alias = origin(agent_dir), self._service.settings.follow
            if registered and alias != NO_FOLLOWING:
                AliasWatcher(self._service, Path.cwd(), *registered, alias).start()

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Raises MlflowException, naming the row that cannot be vectorised."""
        from pipeline.serving.rows import RequestError, read_rows

        try:
            rows = read_rows(model_input.to_dict(orient="records"), self._service.settings)
            return pd.DataFrame(self._service.answer(rows))
        except RequestError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


set_model(ServedAgent())
