"""Limits of requests and settings of the service: TRACEWRIGHT_SERVE_* in the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from pipeline.core.errors import SettingsError
from pipeline.settings.schema import Section, error_lines, read_yaml

PREFIX = "TRACEWRIGHT_SERVE_"
MLFLOWS_TIMEOUT = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"

PositiveInt = Annotated[int, Field(ge=1)]


class ServeSettings(Section):
    """docs/serving.md describes each; its variable is the field's name in capitals, after PREFIX.

    max_side_pixels: of an image's longer side. lanes: images vectorised at once, each by its own tracing process; 0 for
    one per core. waiting: requests held in addition to one per lane. per_client: requests of one address, of
    these. follow: the alias whose holder is served, if the
    model that the server was started with holds it; none keeps that model.
    """

    max_body_bytes: Annotated[int, Field(ge=1_000)] = 20_000_000
    max_image_bytes: Annotated[int, Field(ge=1_000)] = 10_000_000
    max_side_pixels: Annotated[int, Field(ge=8, le=65_535)] = 8192
    max_pixels: Annotated[int, Field(ge=64, le=1 << 24)] = 1 << 22
    max_rows: Annotated[int, Field(ge=1, le=1000)] = 32
    max_traces: Annotated[int, Field(ge=1, le=1000)] = 64
    deadline_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    waiting: Annotated[int, Field(ge=0, le=10_000)] = 32
    per_client: Annotated[int, Field(ge=1, le=10_000)] = 16
    lanes: Annotated[int, Field(ge=0, le=1024)] = 0
    follow: Annotated[str, Field(min_length=1)] = "champion"
    follow_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0


def settings_from(environment: Mapping[str, str] = os.environ) -> ServeSettings:
    """Raises SettingsError, which lists all unknown variables and values out of range.

    The deadline must lie below MLflow's own (`mlflow models serve --timeout`), or MLflow would answer in our place.
    """
    texts = {name.removeprefix(PREFIX).lower(): text for name, text in environment.items() if name.startswith(PREFIX)}
    try:
        settings = ServeSettings.model_validate({name: _value(text) for name, text in texts.items()})
    except ValidationError as error:
        # The variable's name in place of the key's.
        key = re.compile(r"^\w+|(?<=did you mean )\w+")
        errors = error_lines(ServeSettings, error.errors())
        lines = "\n".join(f"  {key.sub(lambda found: PREFIX + found[0].upper(), line)}" for line in errors)
        raise SettingsError(f"the service cannot start with these variables:\n{lines}") from None
    mlflows = float(environment.get(MLFLOWS_TIMEOUT, "60"))
    if settings.deadline_seconds >= mlflows:
        raise SettingsError(
            f"{PREFIX}DEADLINE_SECONDS is {settings.deadline_seconds:g}; it must be below MLflow's own limit of "
            f"{mlflows:g} seconds, which `mlflow models serve --timeout` sets"
        )
    return settings


def _value(text: str) -> Any:
    try:
        return read_yaml(text)[0]
    except yaml.YAMLError:
        return text
