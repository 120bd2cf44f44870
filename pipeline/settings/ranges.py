"""What a setting may be: one value, one of some, or anywhere in a range; for VTracer's parameters and for tuning."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.limits import ALLOWED, describe_allowed, is_allowed
from pipeline.settings.schema import Section


def _one_value(value: Any) -> Any:
    """Refused here, or pydantic would complain once for each type that a value may have."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise PydanticCustomError("kind", "no number and no word")
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("kind", "not finite")
    return value


SettingValue = Annotated[int | float | str, BeforeValidator(_one_value)]


class FixedValue(Section):
    fixed: SettingValue


class Choices(Section):
    choices: Annotated[tuple[SettingValue, ...], Field(min_length=1, strict=False)]

    @model_validator(mode="after")
    def _different(self) -> Choices:
        refuse_repeated(self.choices, "choices")
        return self


class Range(Section):
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}; to hold a value use `fixed`")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} must be above 0 on a log scale")
        return self


def refuse_repeated(values: Iterable[Any], what: str) -> None:
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} hold {', '.join(map(repr, repeated))} more than once")


def kind_of_freedom(value: Any) -> str | None:
    """The class that the keys ask for; None where they ask for none, or for two at once."""
    if isinstance(value, Section):
        return type(value).__name__
    keys = set(value) if isinstance(value, dict) else set()
    if keys in ({"fixed"}, {"choices"}):
        return "FixedValue" if keys == {"fixed"} else "Choices"
    return "Range" if keys & {"low", "high"} and keys <= {"low", "high", "log"} else None


Freedom = Annotated[
    Annotated[FixedValue, Tag("FixedValue")] | Annotated[Choices, Tag("Choices")] | Annotated[Range, Tag("Range")],
    Discriminator(
        kind_of_freedom,
        custom_error_type="form",
        custom_error_message="`fixed: value`, `choices: [...]`, or `low:` and `high:`",
    ),
]


def values_of(freedom: Freedom) -> Sequence[int | float | str]:
    """The values that bound a freedom: the fixed one, all choices, or both ends."""
    match freedom:
        case FixedValue():
            return (freedom.fixed,)
        case Choices():
            return freedom.choices
        case Range():
            return (freedom.low, freedom.high)


class TracingSettings(Section):
    allowed_words: ClassVar[Mapping[str, str]] = {name: describe_allowed(name) for name in ALLOWED}

    mode: Freedom
    colormode: Freedom
    hierarchical: Freedom
    filter_speckle: Freedom
    color_precision: Freedom
    layer_difference: Freedom
    corner_threshold: Freedom
    length_threshold: Freedom
    max_iterations: Freedom
    splice_threshold: Freedom
    path_precision: Freedom
    prescale: Freedom
    palette: Freedom
    simplify: Freedom
    refit: Freedom
    steps_per_pixel: Freedom

    @field_validator("*", mode="after")
    @classmethod
    def _in_range(cls, freedom: Freedom, info: ValidationInfo) -> Freedom:
        name = str(info.field_name)
        wrong = [value for value in values_of(freedom) if not is_allowed(name, value)]
        if wrong:
            shown = ", ".join(f"{v:g}" if isinstance(v, float) else repr(v) for v in wrong)
            raise ValueError(f"{shown} is not allowed; allowed is {describe_allowed(name)}")
        return freedom


class SearchChoices(Section):
    choices: Annotated[tuple[Any, ...], Field(min_length=1, strict=False)]

    @model_validator(mode="after")
    def _different(self) -> SearchChoices:
        refuse_repeated(map(repr, self.choices), "choices")
        return self


def _kind_of_search(value: Any) -> str | None:
    kind = kind_of_freedom(value)
    return {"Choices": "SearchChoices", "FixedValue": None}.get(kind or "", kind)


Search = Annotated[
    Annotated[SearchChoices, Tag("SearchChoices")] | Annotated[Range, Tag("Range")],
    Discriminator(
        _kind_of_search,
        custom_error_type="form",
        custom_error_message="`choices: [...]`, or `low:` and `high:`",
    ),
]
