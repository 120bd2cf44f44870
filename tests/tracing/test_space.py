"""The space is a bijection between settings and shares of the cube, with no dead share."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import DEFAULT_PARAMS, PARAM_NAMES, TracerParams
from pipeline.settings.limits import ALLOWED
from pipeline.settings.ranges import TracingSettings
from pipeline.tracing.space import PRESETS, ParameterSpace, check_params

WIDE: dict[str, Any] = {
    "mode": {"choices": ["spline", "polygon", "none"]},
    "colormode": {"choices": ["color", "binary"]},
    "hierarchical": {"choices": ["stacked", "cutout"]},
    "filter_speckle": {"low": 0, "high": 16},
    "color_precision": {"low": 1, "high": 8},
    "layer_difference": {"low": 1, "high": 255, "log": True},
    "corner_threshold": {"low": 0, "high": 180},
    "length_threshold": {"low": 3.5, "high": 10.0},
    "max_iterations": {"low": 1, "high": 20},
    "splice_threshold": {"low": 0, "high": 180},
    "path_precision": {"choices": [8, 0, 1, 2]},
    "prescale": {"low": 1.0, "high": 3.0, "log": True},
    "palette": {"low": 0, "high": 256},
    "simplify": {"low": 0.0, "high": 2.0},
    "refit": {"choices": [0, 1]},
    "steps_per_pixel": {"low": 1, "high": 100, "log": True},
}


def space_of(**changed: Any) -> ParameterSpace:
    return ParameterSpace.from_settings(TracingSettings.model_validate(WIDE | changed))


SPACE = space_of()
POINTS = st.lists(st.floats(0, 1, allow_nan=False), min_size=SPACE.size, max_size=SPACE.size)


def test_every_parameter_is_an_axis_when_free_and_none_when_fixed() -> None:
    assert SPACE.names == PARAM_NAMES
    some = space_of(mode={"fixed": "polygon"}, palette={"choices": [4]})
    assert set(PARAM_NAMES) - set(some.names) == {"mode", "palette"}
    params = some.decode(np.zeros(some.size))
    assert (params.mode, params.palette) == ("polygon", 4)


@given(POINTS)
def test_what_is_decoded_is_valid_in_the_space_and_survives_encoding(point: list[float]) -> None:
    params = SPACE.decode(point)
    assert check_params(params) is None
    assert SPACE.contains(params)
    assert SPACE.canonical(params) == params
    assert SPACE.decode(SPACE.encode(params)) == params


def test_the_shipped_space_survives_encoding_too(tracing_settings: TracingSettings) -> None:
    space = ParameterSpace.from_settings(tracing_settings)
    for point in np.random.default_rng(3).random((300, space.size)):
        params = space.decode(point.astype(np.float32))
        assert space.decode(space.encode(params)) == params
        assert space.contains(params)


@pytest.mark.parametrize("axis", SPACE.axes, ids=lambda axis: axis.name)
def test_every_value_is_the_centre_of_its_own_share(axis: Any) -> None:
    """In float32, as an agent would give it: no value is dead, none is hidden by its neighbour."""
    assert [axis.values[axis.cell(float(np.float32(axis.centre(value))))] for value in axis.values] == list(axis.values)
    assert axis.edges[0] == 0
    assert axis.edges[-1] == 1
    assert (np.diff(axis.edges) > 0).all()


@pytest.mark.parametrize("name", ["filter_speckle", "color_precision", "path_precision", "mode", "length_threshold"])
def test_linear_ranges_and_choices_own_equal_shares(name: str) -> None:
    axis = SPACE.axes[SPACE.names.index(name)]
    seen = Counter(axis.values[axis.cell(float(u))] for u in (np.arange(20_000) + 0.5) / 20_000)
    assert set(seen) == set(axis.values)
    assert max(seen.values()) - min(seen.values()) <= 1


def test_a_log_range_has_the_geometric_middle_in_its_middle() -> None:
    axis = SPACE.axes[SPACE.names.index("layer_difference")]
    assert axis.values[0] == 1
    assert axis.values[-1] == 255
    assert 9 <= int(axis.values[axis.cell(0.5)]) <= 13
    assert 15 <= float(np.sqrt(int(axis.values[axis.cell(0.3)]) * int(axis.values[axis.cell(0.999)]))) <= 40


def test_the_ends_and_what_lies_beyond_are_the_first_and_last_values() -> None:
    low, high = SPACE.decode(np.full(SPACE.size, -3.0)), SPACE.decode(np.full(SPACE.size, 7.0))
    assert (low.mode, low.filter_speckle, low.prescale, low.simplify) == ("spline", 0, 1.0, 0.0)
    assert (high.mode, high.palette, high.prescale, high.steps_per_pixel) == ("none", 256, 3.0, 100)


@pytest.mark.parametrize("point", [[0.5], np.full(SPACE.size, np.nan), np.full(SPACE.size, np.inf)])
def test_a_point_that_is_none_is_refused(point: Any) -> None:
    with pytest.raises(ValueError, match="16 finite numbers"):
        SPACE.decode(point)


def test_a_palette_of_one_colour_is_not_offered() -> None:
    assert SPACE.axes[SPACE.names.index("palette")].values[:3] == (0, 2, 3)


@pytest.mark.parametrize(
    ("params", "inactive"),
    [
        (DEFAULT_PARAMS, set()),
        (
            TracerParams(mode="polygon"),
            {"corner_threshold", "length_threshold", "max_iterations", "splice_threshold", "path_precision"},
        ),
        (TracerParams(colormode="binary"), {"hierarchical", "color_precision", "layer_difference"}),
    ],
)
def test_what_is_inactive_is_masked_and_set_to_the_default(params: TracerParams, inactive: set[str]) -> None:
    assert {name for name, on in zip(SPACE.names, SPACE.mask(params), strict=True) if not on} == inactive
    odd = {"corner_threshold": 5, "length_threshold": 9.0, "color_precision": 2, "path_precision": 0}
    changed = SPACE.canonical(replace(params, **odd))  # type: ignore[arg-type]
    for name, value in odd.items():
        assert getattr(changed, name) == (getattr(DEFAULT_PARAMS, name) if name in inactive else value)


def test_membership_looks_at_active_values_only() -> None:
    space = space_of(mode={"choices": ["spline", "polygon"]}, path_precision={"fixed": 1}, colormode={"fixed": "color"})
    assert not space.contains(DEFAULT_PARAMS)  # path_precision 2
    assert space.contains(TracerParams(path_precision=1))
    assert space.contains(TracerParams(mode="polygon"))
    assert not space.contains(TracerParams(mode="none"))
    assert not space.contains(TracerParams(mode="polygon", colormode="binary"))


def test_a_setting_outside_the_space_is_encoded_as_the_nearest() -> None:
    space = space_of(path_precision={"choices": [0, 1]}, mode={"choices": ["polygon", "none"]})
    point = dict(zip(space.names, space.encode(DEFAULT_PARAMS), strict=True))
    assert point["path_precision"] == pytest.approx(0.75)
    assert point["mode"] == 0.5


def test_it_travels_as_json() -> None:
    again = ParameterSpace.from_json(json.loads(json.dumps(SPACE.to_json())))
    assert again == SPACE
    with pytest.raises(ValueError, match="palette"):
        ParameterSpace.from_json(SPACE.to_json() | {"palette": {"fixed": 1}})


def test_the_improvement_counts_in_every_mode() -> None:
    """Two settings that differ in it are two evaluations, whatever VTracer ignores."""
    for params in (DEFAULT_PARAMS, TracerParams(mode="polygon"), TracerParams(mode="none", colormode="binary")):
        for change in ({"simplify": 0.2}, {"refit": 1}, {"steps_per_pixel": 4}):
            assert SPACE.canonical(replace(params, **change)) != SPACE.canonical(params)


def test_presets_are_valid_and_differ() -> None:
    assert all(check_params(params) is None for params in PRESETS.values())
    assert len({*PRESETS.values(), DEFAULT_PARAMS}) == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "pixel"),
        ("colormode", "bw"),
        ("color_precision", 9),
        ("color_precision", 6.0),
        ("layer_difference", 0),
        ("max_iterations", 0),
        ("length_threshold", float("nan")),
        ("prescale", 3.5),
        ("simplify", -0.01),
        ("simplify", 2.01),
        ("refit", 2),
        ("refit", True),
        ("steps_per_pixel", 0),
        ("steps_per_pixel", 10.0),
        ("palette", 1),
        ("filter_speckle", True),
        ("path_precision", None),
        ("hierarchical", 3),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    wrong = check_params(replace(DEFAULT_PARAMS, **{name: value}))
    assert wrong is not None
    assert name in wrong


def test_all_errors_are_told_at_once() -> None:
    wrong = check_params(replace(DEFAULT_PARAMS, color_precision=0, max_iterations=99))
    assert wrong is not None
    assert "color_precision" in wrong
    assert "max_iterations" in wrong
    assert set(ALLOWED) == set(PARAM_NAMES)
