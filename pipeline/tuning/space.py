"""What a study searches: `tune.space` of params.yaml, checked against the settings that it changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipeline.core.errors import SettingsError
from pipeline.settings.overrides import Overrides, put, value_at
from pipeline.settings.params import Settings
from pipeline.settings.ranges import Range, Search, SearchChoices
from pipeline.settings.schema import error_lines

if TYPE_CHECKING:
    from optuna.trial import Trial

SECTIONS = ("train", "objective", "curriculum")
KEPT = ("objective.name", "train.seed", "train.n_seeds")
"""Not searched: trials with different ones could not be compared, or would differ by luck."""


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """freedoms: dotted setting -> its range or choices. whole: the settings whose values are whole numbers."""

    freedoms: dict[str, Search]
    whole: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> SearchSpace:
        """Raises SettingsError, which lists every unknown setting and every value that is not allowed."""
        freedoms = dict(settings.tune.space)
        lines = [line for key, freedom in freedoms.items() for line in _wrong(settings, key, freedom)]
        if lines:
            count = f"{len(lines)} errors" if len(lines) > 1 else "an error"
            raise SettingsError(f"tune.space in params.yaml has {count}:\n  " + "\n  ".join(lines))
        return cls(freedoms, frozenset(key for key in freedoms if _is_whole(value_at(settings, key))))

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """A value for each setting; the same ones again for a trial that has some already."""
        return {key: self._suggest(trial, key, freedom) for key, freedom in self.freedoms.items()}

    def overrides(self, params: Overrides) -> dict[str, Any]:
        """Settings from the params that Optuna keeps of a trial."""
        return {
            key: json.loads(params[key]) if isinstance(freedom, SearchChoices) else params[key]
            for key, freedom in self.freedoms.items()
            if key in params
        }

    def _suggest(self, trial: Trial, key: str, freedom: Search) -> Any:
        if isinstance(freedom, SearchChoices):  # as JSON: Optuna keeps words and numbers, and a choice may be a list
            return json.loads(trial.suggest_categorical(key, [json.dumps(choice) for choice in freedom.choices]))
        if key in self.whole:
            return trial.suggest_int(key, int(freedom.low), int(freedom.high), log=freedom.log)
        return trial.suggest_float(key, freedom.low, freedom.high, log=freedom.log)

    @property
    def changes_what_is_measured(self) -> bool:
        """Whether the validations of two trials differ in more than the agent."""
        return any(key == "train.max_steps" or key.startswith("objective.") for key in self.freedoms)


def _wrong(settings: Settings, key: str, freedom: Search) -> Iterator[str]:
    if key.partition(".")[0] not in SECTIONS or key in KEPT:
        yield f"{key}: cannot be searched; allowed are settings of {', '.join(SECTIONS)}, without {', '.join(KEPT)}"
        return
    bounds = freedom.choices if isinstance(freedom, SearchChoices) else (freedom.low, freedom.high)
    try:
        if isinstance(freedom, Range) and _is_whole(value_at(settings, key)):
            if any(bound != int(bound) for bound in bounds):
                yield f"{key}: low {freedom.low:g} and high {freedom.high:g} must be whole numbers"
                return
            bounds = tuple(int(bound) for bound in bounds)
    except (KeyError, TypeError):
        pass  # no such setting: the check below says so, and names the nearest one
    yield from dict.fromkeys(line for bound in bounds for line in _errors_of(settings, key, bound))


def _errors_of(settings: Settings, key: str, value: Any) -> list[str]:
    """What is wrong with one value by itself, apart from conflicts with settings that a trial may change."""
    values = settings.to_json()
    if misplaced := put(values, key, value):
        return [misplaced]
    try:
        Settings.model_validate(values)
    except ValidationError as error:
        depth = key.count(".") + 1
        own = [e for e in error.errors(include_url=False) if e["type"] != "value_error" or len(e["loc"]) >= depth]
        return list(error_lines(Settings, own))
    return []


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
