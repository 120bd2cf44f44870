"""What a client asks for: a request's body or a table's rows, checked, as images to be vectorised."""

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
from pipeline.core.records import OBJECTIVES
from pipeline.data.images import FORMATS
from pipeline.serving.limits import ServeSettings
from pipeline.vectorizing.batch import MIN_SIDE_PIXELS

TRACES = 8
"""Settings tried per image where a request names no number; the same as the command's."""

KEYS = ("image", "objective", "target", "traces")
LAYOUTS = ("dataframe_records", "dataframe_split", "inputs", "instances")
ONE_OF = f"the body is to be a JSON object with one of {', '.join(LAYOUTS)}"

SHOWN = 60  # characters of a value in a message


class Refused(DataError):
    """A request that is not answered with SVGs. status: of HTTP; the message is one sentence for its sender."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Order:
    """One image to be vectorised. image: a file's bytes. objective, target: None for the model's own."""

    image: bytes
    objective: str | None
    target: float | None
    traces: int


def read_body(body: bytes, limits: ServeSettings) -> list[Order]:
    """The orders in a request, in any of MLflow's layouts for tables. Raises Refused."""
    try:
        request = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise Refused(400, f"the body is nested too deeply; {ONE_OF}") from None
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError, a number of too many digits
        raise Refused(400, f"the body is no JSON ({error}); {ONE_OF}") from None
    return read_rows(_rows(request), limits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no value in JSON")


def _rows(request: Any) -> Sequence[Any]:
    if not isinstance(request, dict):
        raise Refused(400, f"the body is {_shown(request)}; {ONE_OF}")
    layouts = [name for name in LAYOUTS if name in request]
    others = [name for name in request if name not in LAYOUTS]
    if len(layouts) != 1 or others:
        raise Refused(400, f"the body has {_words(list(request)) or 'no key'}; {ONE_OF}, and nothing else")
    [layout] = layouts
    table = request[layout]
    if layout == "dataframe_split":
        return _of_split(table)
    if layout == "inputs" and isinstance(table, dict):
        return _of_columns(table)
    if not isinstance(table, list):
        raise Refused(400, f"{layout} is {_shown(table)}; it is to be a list of rows, each an object with an image")
    return table


def _of_split(table: Any) -> list[dict[str, Any]]:
    columns, data = (table.get("columns"), table.get("data")) if isinstance(table, dict) else (None, None)
    if (
        not isinstance(columns, list)
        or not all(isinstance(name, str) for name in columns)
        or not isinstance(data, list)
    ):
        raise Refused(400, "dataframe_split is to have columns, a list of names, and data, a list of rows")
    if len(set(columns)) < len(columns):
        raise Refused(400, f"dataframe_split has the columns {_words(columns)}; each may be there once")
    for number, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            raise Refused(400, f"row {number} is {_shown(row)}; it is to be a list of {len(columns)}, as columns is")
    return [dict(zip(columns, row, strict=True)) for row in data]


def _of_columns(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    lengths = {len(column) if isinstance(column, list) else -1 for column in table.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise Refused(400, "inputs is to be a list of rows, or an object of columns, each a list of the same length")
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def read_rows(rows: Sequence[Any], limits: ServeSettings) -> list[Order]:
    """Rows of KEYS to orders; None and NaN are values that were left out. Raises Refused, which names the row."""
    if not rows:
        raise Refused(400, "there are no rows; give one for each image")
    if len(rows) > limits.max_rows:
        raise Refused(413, f"there are {len(rows)} rows, allowed are {limits.max_rows}; send them in several requests")
    orders = []
    for number, row in enumerate(rows):
        try:
            orders.append(_order(row, limits))
        except Refused as error:
            raise Refused(error.status, f"row {number}: {error}") from None
    return orders


def _order(row: Any, limits: ServeSettings) -> Order:
    if not isinstance(row, dict):
        raise Refused(400, f"it is {_shown(row)}; it is to be an object with image, and as you like {_words(KEYS[1:])}")
    if unknown := [name for name in row if name not in KEYS]:
        raise Refused(400, f"it has {_words(unknown)}; allowed are {_words(KEYS)}")
    given = {name: value for name, value in row.items() if value is not None and value == value}
    objective = given.get("objective")
    if objective is not None and objective not in OBJECTIVES:
        raise Refused(400, f"objective is {_shown(objective)}; allowed is one of {_words(OBJECTIVES)}")
    return Order(
        _image(given.get("image"), limits),
        objective,
        _target(given.get("target"), objective),
        _traces(given.get("traces"), limits),
    )


def _target(value: Any, objective: str | None) -> float | None:
    if value is None:
        return None
    if objective != "target":
        raise Refused(400, "target is for the objective target; give both")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Refused(400, f"target is {_shown(value)}; allowed is a number from 0 to 1")
    return float(value)


def _traces(value: Any, limits: ServeSettings) -> int:
    if value is None:
        return min(TRACES, limits.max_traces)
    whole = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value) and value % 1 == 0
    if not whole or not 1 <= value <= limits.max_traces:
        raise Refused(400, f"traces is {_shown(value)}; allowed is a whole number from 1 to {limits.max_traces}")
    return int(value)


def _image(text: Any, limits: ServeSettings) -> bytes:
    if text is None:
        raise Refused(400, "image is missing; it is to be the base64 text of a PNG, JPEG, BMP, TIFF or WebP file")
    if not isinstance(text, str):
        raise Refused(400, f"image is {_shown(text)}; it is to be the base64 text of an image file")
    if len(text) > limits.max_image_bytes * 4 // 3 + 4:
        raise Refused(413, f"image is larger than the {limits.max_image_bytes} bytes allowed; shrink it")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, f"image is no base64 text ({error}); encode the file's bytes without line breaks") from None
    _check_size(content, limits)
    return content


def _check_size(content: bytes, limits: ServeSettings) -> None:
    """By the file's header alone; one that cannot be read is refused with a reason when it is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        raise Refused(413, f"image has far more than the {limits.max_pixels} pixels allowed; shrink it") from None
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, ArithmeticError, RuntimeError):
        return
    if width * height > limits.max_pixels or max(width, height) > limits.max_side_pixels:
        raise Refused(
            413,
            f"image has {width} x {height} pixels; allowed are {limits.max_pixels} in all and {limits.max_side_pixels} "
            "a side; shrink it",
        )
    if min(width, height) < MIN_SIDE_PIXELS:
        raise Refused(400, f"image has {width} x {height} pixels; each side needs at least {MIN_SIDE_PIXELS}")


def _shown(value: Any) -> str:
    """A client's value as JSON names it, cut short: an image's text has no place in a message."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value) if value is None or isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _words(names: Sequence[Any]) -> str:
    return ", ".join(str(name)[:40] for name in names[:8])
