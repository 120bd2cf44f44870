"""Frozen dataclasses as JSON and back, checked against their annotations.

Keys that a record does not have are ignored, so that a file of a later release can be read.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.core.errors import DataError
from pipeline.core.files import read_json, write_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


def to_json(record: Any) -> Any:
    """A record, or a list or mapping of records, as what `json` can write: tuples become lists."""
    return _adapter(type(record)).dump_python(record, mode="json")


def from_json(kind: type[T], value: Any) -> T:
    """Raises ValueError with the place of the first field that is missing or of another type."""
    from pydantic import ValidationError

    try:
        record: T = _adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(f"{place}: {first['msg'].lower()}") from None
    return record


def write_record(path: Path, record: Any) -> None:
    """Raises ValueError for NaN and infinity, StorageError when the file cannot be written."""
    write_json(path, to_json(record))


def read_record(kind: type[T], path: Path, made_by: str) -> T:
    """made_by: the command that writes the file.

    Raises DataError, which names the command, when the file is missing or damaged.
    """
    try:
        return from_json(kind, read_json(path, made_by))
    except ValueError as error:
        raise DataError(f"{path}: {error}; run `{made_by}` again") from None


def json_schema(kind: type[Any]) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what `to_json` gives for a record of this type."""
    return _adapter(kind).json_schema(mode="serialization")


def _adapter(kind: Any) -> TypeAdapter[Any]:
    return _cached_adapter(kind)


@cache
def _cached_adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
