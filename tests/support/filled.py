"""Which fields of a record hold nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def empty_fields(record: Any) -> set[str]:
    """Dotted names of what is None or empty wherever it occurs; `[]` stands for every item of a list or mapping."""
    found = list(_leaves(record, ""))
    return {name for name, filled in found if not filled} - {name for name, filled in found if filled}


def _leaves(value: Any, name: str) -> Iterator[tuple[str, bool]]:
    """(name, whether it holds something)"""
    yield name, not (value is None or (isinstance(value, str | tuple | list | Mapping) and not value))
    if is_dataclass(value):
        for field in fields(value):
            yield from _leaves(getattr(value, field.name), f"{name}.{field.name}".removeprefix("."))
    elif isinstance(value, tuple | list | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(item, f"{name}[]")


MAY_BE_EMPTY = {
    "ended_early": "the training went on to its last timestep",
    "training.stopped": "the same",
    "training.seed_spread": "one seed",
    "training.failures": "no trace failed",
    "training.evaluations.failures": "the same",
    "training.dataset.aside": "every image is in a split",
    "training.dataset.groups.largest_group": "no two images belong together",
    "training.validations[].stability": "one image",
    "training.validations[].consistency": "no stochastic runs",
    "training.validations[].trend.slope": "too few validations for a trend",
    "training.validations[].trend.low": "the same",
    "training.validations[].trend.high": "the same",
    "comparison.failures": "no trace failed",
    "comparison.duels[].better": "chance alone could explain each difference",
    "comparison.evaluations.failures": "the same",
    "comparison.knee": "the curve of size against damage does not bend",
    "comparison.withdrawn": "every choice could be traced again",
    "comparison.left_out": "every test image has a default",
    "comparison.stopping.trained": "the plain rule stands",
    "comparison.second_renderer": "one renderer",
    "comparison.second_renderer.not_upheld": "it upheld every choice",
    "damaged": "no image is visibly damaged",
    "registry.against": "the first model",
    "registry.against.run_id": "of a model that no run registered",
    "most_improved": "no image was improved",
    "dataset.recommendations": "nothing is wrong with the images",
    "dataset.categories[].confidence_mean": "every category comes from a folder",
    "checkpoints.entries[].metrics": "no checkpoint was made at a validation",
    "resources.usage[].limit": "no resource with a limit was used",
    "resources.findings": "less than a minute was sampled",
}
"""Fields of report.json that may hold nothing, and when."""
