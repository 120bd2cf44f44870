"""The rows of a request: read from its body or from a table, and checked."""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pipeline.core.errors import DataError
from pipeline.core.pixels import colour_code
from pipeline.core.records import OBJECTIVES
from pipeline.data.images import FORMATS
from pipeline.serving.limits import ServeSettings
from pipeline.vectorizing.answer import PLAIN, Options
from pipeline.vectorizing.batch import MIN_SIDE_PIXELS

TRACES = 8
"""Settings tried per image when a row names no number; the same as the command's default."""

MOST_DAMAGE = 100.0
KEYS = ("image", "objective", "max_damage", "budget_bytes", "background", "traces")
LAYOUTS = ("dataframe_records", "dataframe_split", "inputs", "instances")
ONE_OF = f"the body must be a JSON object with one of {', '.join(LAYOUTS)}"

SHOWN = 60  # characters of a value in a message


class RequestError(DataError):
    """A request that is not answered with SVGs. status: of HTTP; the message is one sentence for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Row:
    """One image to vectorise. image: a file's bytes. objective, max_damage: None for the model's own."""

    image: bytes
    objective: str | None
    max_damage: float | None
    traces: int
    options: Options = PLAIN


def read_body(body: bytes, limits: ServeSettings) -> list[Row | RequestError]:
    """The rows of a request, in any of MLflow's layouts for tables, as `read_rows`. Raises RequestError."""
    try:
        request = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise RequestError(400, f"the body is nested too deeply; {ONE_OF}") from None
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError, a number of too many digits
        raise RequestError(400, f"the body is not JSON ({error}); {ONE_OF}") from None
    if not isinstance(request, dict):
        raise RequestError(400, f"the body is {_shown(request)}; {ONE_OF}")
    layouts = [name for name in LAYOUTS if name in request]
    others = [name for name in request if name not in LAYOUTS]
    if len(layouts) != 1 or others:
        raise RequestError(400, f"the body has {_words(list(request)) or 'no key'}; {ONE_OF}, and nothing else")
    [layout] = layouts
    table = request[layout]
    if layout == "dataframe_split":
        table = _from_split(table)
    elif layout == "inputs" and isinstance(table, dict):
        table = _from_columns(table)
    elif not isinstance(table, list):
        raise RequestError(400, f"{layout} is {_shown(table)}; it must be a list of rows, each an object with an image")
    return read_rows(table, limits)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a value in JSON")


def _from_split(table: Any) -> list[dict[str, Any]]:
    columns, data = (table.get("columns"), table.get("data")) if isinstance(table, dict) else (None, None)
    if (
        not isinstance(columns, list)
        or not all(isinstance(name, str) for name in columns)
        or not isinstance(data, list)
    ):
        raise RequestError(400, "dataframe_split must have columns, a list of names, and data, a list of rows")
    if len(set(columns)) < len(columns):
        raise RequestError(400, f"dataframe_split has the columns {_words(columns)}; each is allowed once")
    for number, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            raise RequestError(
                400, f"row {number} is {_shown(row)}; it must be a list of {len(columns)} values, like columns"
            )
    return [dict(zip(columns, row, strict=True)) for row in data]


def _from_columns(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    lengths = {len(column) if isinstance(column, list) else -1 for column in table.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise RequestError(
            400, "inputs must be a list of rows, or an object of columns, each a list of the same length"
        )
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def read_rows(rows: Sequence[Any], limits: ServeSettings) -> list[Row | RequestError]:
    """Checks rows of KEYS; None and NaN are values that were left out. A bad row is an error that names it.

    Raises RequestError where no row is good.
    """
    if not rows:
        raise RequestError(400, "there are no rows; give one for each image")
    if len(rows) > limits.max_rows:
        raise RequestError(
            413, f"there are {len(rows)} rows, allowed are {limits.max_rows}; send them in several requests"
        )
    checked = [_checked(number, row, limits) for number, row in enumerate(rows)]
    if all(isinstance(row, RequestError) for row in checked) and isinstance(checked[0], RequestError):
        raise checked[0]
    return checked


def _checked(number: int, row: Any, limits: ServeSettings) -> Row | RequestError:
    try:
        return _row(row, limits)
    except RequestError as error:
        return RequestError(error.status, f"row {number}: {error}")


def _row(row: Any, limits: ServeSettings) -> Row:
    if not isinstance(row, dict):
        raise RequestError(
            400, f"it is {_shown(row)}; it must be an object with image and, optionally, {_words(KEYS[1:])}"
        )
    if unknown := [name for name in row if name not in KEYS]:
        raise RequestError(400, f"it has {_words(unknown)}; allowed are {_words(KEYS)}")
    given = {name: value for name, value in row.items() if value is not None and value == value}
    objective = given.get("objective")
    if objective is not None and objective not in OBJECTIVES:
        raise RequestError(400, f"objective is {_shown(objective)}; allowed is one of {_words(OBJECTIVES)}")
    max_damage = given.get("max_damage")
    if max_damage is not None and objective != "target":
        raise RequestError(400, "max_damage is for the objective target; give both")
    if max_damage is not None and not (_is_number(max_damage) and 0 < max_damage <= MOST_DAMAGE):
        allowed = f"above 0 to {MOST_DAMAGE:g}"
        raise RequestError(400, f"max_damage is {_shown(max_damage)}; allowed is a number {allowed}")
    budget = given.get("budget_bytes")
    if budget is not None and max_damage is not None:
        raise RequestError(400, "max_damage and budget_bytes: give one of them")
    if budget is not None and not (_is_whole(budget) and budget >= 1):
        raise RequestError(400, f"budget_bytes is {_shown(budget)}; allowed is a whole number from 1 on")
    traces = given.get("traces", min(TRACES, limits.max_traces))
    if not (_is_whole(traces) and 1 <= traces <= limits.max_traces):
        raise RequestError(400, f"traces is {_shown(traces)}; allowed is a whole number from 1 to {limits.max_traces}")
    image = _image(given.get("image"), limits)
    options = Options(
        budget_bytes=int(budget) if budget is not None else None, background=_colour(given.get("background"))
    )
    return Row(image, objective, float(max_damage) if max_damage is not None else None, int(traces), options)


def _colour(value: Any) -> str | None:
    if value is None:
        return None
    try:
        return colour_code(value) if isinstance(value, str) else colour_code("")
    except ValueError:
        allowed = "allowed is an opaque colour, such as white or #0b57a4"
        raise RequestError(400, f"background is {_shown(value)}; {allowed}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value) and value % 1 == 0


def _image(text: Any, limits: ServeSettings) -> bytes:
    if text is None:
        raise RequestError(400, "image is missing; it must be the base64 text of a PNG, JPEG, BMP, TIFF or WebP file")
    if not isinstance(text, str):
        raise RequestError(400, f"image is {_shown(text)}; it must be the base64 text of an image file")
    if len(text) > limits.max_image_bytes * 4 // 3 + 4:
        raise RequestError(413, f"image is larger than the {limits.max_image_bytes} bytes allowed; shrink it")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            400, f"image is not base64 text ({error}); encode the file's bytes without line breaks"
        ) from None
    _check_size(content, limits)
    return content


def _check_size(content: bytes, limits: ServeSettings) -> None:
    """By the file's header alone; an unreadable header is refused with a reason when the image is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        raise RequestError(413, f"image has far more than the {limits.max_pixels} pixels allowed; shrink it") from None
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, ArithmeticError, RuntimeError):
        return
    if width * height > limits.max_pixels or max(width, height) > limits.max_side_pixels:
        raise RequestError(
            413,
            f"image has {width} x {height} pixels; allowed are {limits.max_pixels} in all and {limits.max_side_pixels} "
            "a side; shrink it",
        )
    if min(width, height) < MIN_SIDE_PIXELS:
        raise RequestError(400, f"image has {width} x {height} pixels; each side needs at least {MIN_SIDE_PIXELS}")


def _shown(value: Any) -> str:
    """A client's value as JSON names it, shortened, since it may be an image's text."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value) if value is None or isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _words(names: Sequence[Any]) -> str:
    return ", ".join(str(name)[:40] for name in names[:8])
