"""The trained agent as MLflow runs it: logged as this source file and the agent's folder, so nothing is unpickled.

MLflow executes this file when a model is logged and when it is loaded. Where it is served, tracewright must be
installed (`mlflow models serve --env-manager local`, docs/serving.md).
"""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from pipeline.serving.service import Service

IN_MLFLOWS_SERVER = "__pyfunc_model_path__"  # the variable that tells MLflow's server which model to load
NO_FOLLOWING = "none"


class ServedAgent(PythonModel):
    """Rows of `image` (base64 of a PNG, JPEG, ...), optionally `objective`, `target`, `traces`, to SVGs and scores."""

    def load_context(self, context: PythonModelContext) -> None:
        """Raises DataError or Mismatch when the agent cannot be used by this version of tracewright, SettingsError when
        the service's variables are wrong.
        """
        from pipeline.serving.follow import model_of
        from pipeline.serving.limits import settings_from
        from pipeline.serving.service import Service

        agent_dir = Path(context.artifacts["agent"])
        self._service = Service(model_of(agent_dir), settings_from())
        atexit.register(self._service.close)
        if IN_MLFLOWS_SERVER in os.environ:
            _open_to_clients(self._service, agent_dir)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Raises MlflowException, naming the row that cannot be vectorised."""
        from pipeline.serving.orders import Refused, read_rows

        try:
            orders = read_rows(model_input.to_dict(orient="records"), self._service.settings)
            return pd.DataFrame(self._service.answer(orders))
        except Refused as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def _open_to_clients(service: Service, agent_dir: Path) -> None:
    from pipeline.serving.door import guard_next_app
    from pipeline.serving.follow import Follower, origin

    guard_next_app(service)
    came_from = origin(agent_dir)
    if came_from and service.settings.follow != NO_FOLLOWING:
        Follower(service, Path.cwd(), *came_from, service.settings.follow).start()


set_model(ServedAgent())
