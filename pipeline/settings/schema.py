"""What any checked settings file needs, whatever its keys: strict YAML, and every error as one plain line.

`pipeline.settings.params` says which keys there are. What a value may be is read from the types there, so that the
check, its message and docs/params.md cannot differ.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

KINDS = {
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
}
"""Errors of pydantic's after which the kind of the value must be named beside its range."""

SOME = "a list of one or more, each "

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 80


class Section(BaseModel):
    """A section of a settings file: frozen, no unknown keys, no conversions, no NaN.

    allowed_words: what a key may be, where its type cannot tell (or give its Field a description).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    allowed_words: ClassVar[Mapping[str, str]] = {}


class StrictLoader(yaml.SafeLoader):
    """YAML 1.2, as DVC and ruamel read it: `yes` is a word and 1e-4 a number. PyYAML's own rules are those of 1.1."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own declaration


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?(0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
):
    StrictLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), ["" if c == "\0" else c for c in _first]
    )


def read_yaml(text: str) -> tuple[Any, list[str]]:
    """The values of a YAML document, and a line for each key that is given twice. Raises yaml.YAMLError."""
    node = yaml.compose(text, StrictLoader)
    return yaml.load(text, StrictLoader), list(_repeated(node))


def _repeated(node: yaml.Node | None, key: str = "") -> Iterator[str]:
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _repeated(item, f"{key}[{number}]")
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for name, value in node.value:
            inner, line = _joined(key, name.value), name.start_mark.line + 1
            if inner in first:
                yield f"{inner}: is given twice, in lines {first[inner]} and {line}; keep one of them"
            first.setdefault(inner, line)
            yield from _repeated(value, inner)


def _joined(key: str, part: object) -> str:
    return f"{key}.{part}" if key else str(part)


@dataclass(frozen=True, slots=True)
class SettingsKey:
    """A key of a settings file with its type. words: what it may be, where the type cannot tell."""

    key: str
    annotation: Any
    metadata: Sequence[Any] = ()
    words: str | None = None

    @property
    def section(self) -> type[Section] | None:
        is_section = isinstance(self.annotation, type) and issubclass(self.annotation, Section)
        return self.annotation if is_section else None

    @property
    def allowed(self) -> str:
        """In words; a section by the names of its keys."""
        if self.words:
            return f"{SOME}{self.words}" if get_origin(self.annotation) is tuple else self.words
        return _describe(self.annotation, self.metadata)

    def inner(self) -> Iterator[SettingsKey]:
        """The places below: the keys of a section, or what every item of a list is."""
        if self.section:
            yield from (self._field(name, field) for name, field in _fields(self.section).items())
        elif get_origin(self.annotation) is tuple:
            yield self._of(f"{self.key}[]", get_args(self.annotation)[0])

    def enter(self, part: int | str) -> SettingsKey:
        """The place that one part of an error's location leads to."""
        if self.section:
            field = _fields(self.section).get(str(part))
            return self._field(str(part), field) if field else SettingsKey(_joined(self.key, part), Any)
        arguments, origin = get_args(self.annotation), get_origin(self.annotation)
        if origin is tuple:
            return self._of(f"{self.key}[{part}]", arguments[0])
        if origin is dict:
            return self._of(f"{self.key}.{part}", arguments[1])
        chosen = [a for a in arguments if getattr(_bare(a)[0], "__name__", None) == part]
        return self._of(self.key, chosen[0]) if chosen else SettingsKey(_joined(self.key, part), Any)

    def _field(self, name: str, field: FieldInfo) -> SettingsKey:
        words = field.description or (self.section.allowed_words.get(name) if self.section else None)
        if self.words and field.annotation is not bool:  # what is allowed for a whole is for its parts
            words = self.words
        return SettingsKey(_joined(self.key, name), *_bare(field.annotation, field.metadata), words)

    def _of(self, key: str, annotation: Any) -> SettingsKey:
        return SettingsKey(key, *_bare(annotation), self.words)


def _fields(section: type[Section]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _bare(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[Any, Sequence[Any]]:
    """A type and its bounds, out of Annotated and Field."""
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        metadata = [*metadata, *more]
    flat: list[Any] = []
    for item in metadata:
        flat += item.metadata if isinstance(item, FieldInfo) else [item]
    return annotation, flat


def _describe(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is tuple:
        return f"{SOME}{_describe(*_bare(arguments[0]))}"
    if origin is dict:
        return f"a mapping of names, each {_describe(*_bare(arguments[1]))}"
    if annotation is str and any(getattr(m, "min_length", 0) for m in metadata):
        return "text, not empty"
    if annotation is bool:
        return "true | false"
    if annotation in (int, float):
        return _range(annotation, metadata)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return f"a section with {', '.join(_fields(annotation))}"
    return "text"


def _range(kind: type, metadata: Sequence[Any]) -> str:
    bounds = {name: getattr(m, name) for m in metadata for name in ("ge", "gt", "le", "lt") if hasattr(m, name)}
    if "ge" in bounds and "le" in bounds:
        return f"{bounds['ge']} to {bounds['le']}"
    phrases = {"ge": "{} or more", "gt": "above {}", "le": "at most {}", "lt": "below {}"}
    parts = [phrase.format(bounds[name]) for name, phrase in phrases.items() if name in bounds]
    return ", ".join(parts) or ("a whole number" if kind is int else "a number")


def leaves(model: type[Section]) -> Iterator[SettingsKey]:
    """Every place that holds a value, in order; of a list of sections also what is in each, as `key[].inner`."""
    for place in _below(SettingsKey("", model)):
        if not place.section:
            yield place


def _below(place: SettingsKey) -> Iterator[SettingsKey]:
    for inner in place.inner():
        if inner.section or not inner.key.endswith("[]"):
            yield inner
        yield from _below(inner)


def error_lines(model: type[Section], errors: Sequence[ErrorDetails]) -> Iterator[str]:
    """One line per error: the key, the value, what is allowed."""
    for details in errors:
        kind, value, location = details["type"], details["input"], details["loc"]
        place = _place(model, location)
        if kind == "extra_forbidden":
            yield f"{place.key}: unknown key{_suggestion(model, place.key)}"
        elif kind == "missing":
            yield f"{place.key}: is missing; allowed is {place.allowed}"
        elif kind == "value_error":
            yield f"{place.key}: {details['ctx']['error']}"
        elif kind == "form":
            yield f"{place.key}: {_shown(value)} is not allowed; write {details['msg']}, of {place.allowed}"
        elif location and location[-1] == "[key]":
            mapping = _place(model, location[:-2])
            allowed = _describe(*_bare(get_args(mapping.annotation)[0]))
            yield f"{mapping.key}: {_shown(value)} is not allowed as a name; allowed is {allowed}"
        elif kind != "too_short" or not value:  # pydantic calls a list too short for its bad items as well
            named = "" if place.words else KINDS.get(kind, "")
            unbounded = named and place.allowed in KINDS.values()
            allowed = named if unbounded else f"{named}, {place.allowed}" if named else place.allowed
            yield f"{place.key or 'the file'}: {_shown(value)} is not allowed; allowed is {allowed}"


def _place(model: type[Section], location: Sequence[int | str]) -> SettingsKey:
    place = SettingsKey("", model)
    for part in location:
        place = place.enter(part)
    return place


def _shown(value: Any) -> str:
    if value is None:
        return "an empty value"
    return str(value).lower() if isinstance(value, bool) else _repr.repr(value)


def _suggestion(model: type[Section], key: str) -> str:
    """The nearest name in the same section, else the same name elsewhere."""
    pattern, _, name = re.sub(r"\[\d+\]", "[]", key).rpartition(".")
    known = [place.key.rpartition(".") for place in _below(SettingsKey("", model))]
    near = difflib.get_close_matches(name, [last for parent, _, last in known if parent == pattern], 1, cutoff=0.5)
    found = near or [f"{parent}.{last}" for parent, _, last in known if parent and last == name]
    return f"; did you mean {found[0]}?" if found else ""
