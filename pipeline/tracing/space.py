"""The parameter space: settings of VTracer and of the preparation as points of the unit cube, and back.

Every free parameter is one axis, and every axis is a finite list of values that share [0, 1] out completely: choices
and linear ranges own equal shares, a logarithmic range owns shares that grow towards its low end. Continuous
parameters are a grid of `STEP`, so that equal settings compare equal and an evaluation can be looked up.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.core.records import DEFAULT_PARAMS, PARAM_NAMES, TracerParams
from pipeline.settings.limits import ALLOWED, CONTINUOUS, describe_allowed, is_allowed

if TYPE_CHECKING:  # pydantic takes half a second to import, and who uses an agent needs none of it
    from pipeline.settings.ranges import TracingSettings

Value = int | float | str

STEP = 0.01
"""Grid of the continuous parameters, length_threshold, prescale and simplify."""

COLOR_ONLY = ("hierarchical", "color_precision", "layer_difference")
SPLINE_ONLY = ("corner_threshold", "length_threshold", "max_iterations", "splice_threshold", "path_precision")
"""path_precision too: the corners of polygons and pixels are whole numbers, printed the same at any precision."""

PRESETS: dict[str, TracerParams] = {
    "bw": TracerParams(colormode="binary"),
    "poster": TracerParams(color_precision=8),
    "photo": TracerParams(filter_speckle=10, color_precision=8, layer_difference=48, corner_threshold=180),
}
"""The presets of VTracer's command line (cmdapp/src/config.rs of its source)."""


def check_params(params: TracerParams) -> str | None:
    """Every value out of range, in one sentence that names it and what is allowed; None when all are in range."""
    wrong = [
        f"{name} is {value!r}, allowed is {describe_allowed(name)}"
        for name in PARAM_NAMES
        if not _is_valid(name, value := getattr(params, name))
    ]
    return "; ".join(wrong) or None


def _is_valid(name: str, value: Any) -> bool:
    if isinstance(ALLOWED[name][0], str):
        return isinstance(value, str) and is_allowed(name, value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return (name in CONTINUOUS or isinstance(value, int)) and is_allowed(name, value)


def active_names(params: TracerParams) -> frozenset[str]:
    """The parameters that can change what VTracer returns, given the words of this setting.

    Measured on real logos: polygon and pixel mode ignore everything about curves, binary everything about colour.
    """
    return frozenset(PARAM_NAMES) - _inactive(params.mode, params.colormode)


def essential(params: TracerParams) -> TracerParams:
    """The same setting with what is inactive at DEFAULT_PARAMS' values: equal for settings that trace the same."""
    inactive = _inactive(params.mode, params.colormode)
    if all(getattr(params, name) == getattr(DEFAULT_PARAMS, name) for name in inactive):
        return params
    return replace(params, **{name: getattr(DEFAULT_PARAMS, name) for name in inactive})


@cache
def _inactive(mode: str, colormode: str) -> frozenset[str]:
    of_curves = SPLINE_ONLY if mode != "spline" else ()
    of_colour = COLOR_ONLY if colormode == "binary" else ()
    return frozenset(of_curves + of_colour)


@dataclass(frozen=True, slots=True)
class Axis:
    """One free parameter. values: ascending when numbers. edges: len(values) + 1 bounds of their shares, 0 to 1."""

    name: str
    values: tuple[Value, ...]
    edges: tuple[float, ...]

    def cell(self, unit: float) -> int:
        """The number of the value that has this place."""
        return min(max(bisect_right(self.edges, unit) - 1, 0), len(self.values) - 1)

    def centre(self, value: Value) -> float:
        """The middle of a value's share; of the nearest number's where the value is none of the axis'.

        A word that is none of the axis' is the middle of the axis.
        """
        if value not in self.values and isinstance(value, str):
            return 0.5
        index = self.values.index(value) if value in self.values else _nearest(self.values, value)
        return (self.edges[index] + self.edges[index + 1]) / 2


def _nearest(values: Sequence[Value], value: Value) -> int:
    return int(np.argmin([abs(float(v) - float(value)) for v in values]))


def _axis(name: str, freedom: Mapping[str, Any]) -> Axis:
    """freedom: as in params.yaml. Raises ValueError or TypeError for what it does not allow."""
    bounds = freedom.get("choices") or [freedom[key] for key in ("fixed", "low", "high") if key in freedom]
    if not bounds or not all(is_allowed(name, value) for value in bounds):
        raise ValueError(f"{name}: {freedom}; allowed is {describe_allowed(name)}")
    if "low" not in freedom:
        values = tuple(dict.fromkeys(_typed(name, value) for value in bounds))
        values = values if isinstance(values[0], str) else tuple(sorted(values))
    else:
        values = _grid(name, *bounds)
    return Axis(name, values, _log_edges(values) if freedom.get("log") else _even_edges(len(values)))


def _typed(name: str, value: Value) -> Value:
    if isinstance(value, str):
        return value
    return _on_grid(value) if name in CONTINUOUS else int(value)


def _on_grid(value: float) -> float:
    return round(round(value / STEP) * STEP, 2)


def _grid(name: str, low: float, high: float) -> tuple[Value, ...]:
    if name not in CONTINUOUS:
        return tuple(v for v in range(math.ceil(low), math.floor(high) + 1) if is_allowed(name, v))
    return tuple(_on_grid(i * STEP) for i in range(round(low / STEP), round(high / STEP) + 1))


def _even_edges(count: int) -> tuple[float, ...]:
    return tuple(i / count for i in range(count + 1))


def _log_edges(values: Sequence[Value]) -> tuple[float, ...]:
    """Shares as wide as their stretch of a logarithmic scale, cut half-way between neighbours."""
    numbers = [float(v) for v in values]
    half = (numbers[1] - numbers[0]) / 2 if len(numbers) > 1 else 0.5
    middles = [(a + b) / 2 for a, b in pairwise(numbers)]
    logs = np.log([numbers[0] - half, *middles, numbers[-1] + half])
    return tuple(float(e) for e in (logs - logs[0]) / (logs[-1] - logs[0]))


@dataclass(frozen=True, slots=True)
class ParameterSpace:
    """What may be chosen. axes: the free parameters, in the order of TracerParams. fixed: the others.

    freedoms: the `tracing` section of params.yaml that says so.
    """

    axes: tuple[Axis, ...]
    fixed: tuple[tuple[str, Value], ...]
    freedoms: Mapping[str, Mapping[str, Any]] = field(hash=False)
    _bounds: tuple[NDArray[np.float64], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # As arrays once: numpy takes longer to convert the edges of all axes than to look a thousand points up.
        object.__setattr__(self, "_bounds", tuple(np.array(axis.edges) for axis in self.axes))

    @classmethod
    def from_settings(cls, settings: TracingSettings) -> ParameterSpace:
        return cls.from_json(settings.model_dump(mode="json"))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    @property
    def size(self) -> int:
        return len(self.axes)

    def decode(self, unit: ArrayLike) -> TracerParams:
        """The setting at a point of the cube, canonical.

        unit: shape (size,); values outside [0, 1] count as the nearest end. Raises ValueError for another shape, NaN
        or infinity.
        """
        point = np.asarray(unit, dtype=np.float64)
        if point.shape != (self.size,) or not np.isfinite(point).all():
            raise ValueError(f"a point of this space is {self.size} finite numbers, not {point.tolist()}")
        return self.setting([axis.cell(x) for axis, x in zip(self.axes, point.tolist(), strict=True)])

    def setting(self, cells: Sequence[int]) -> TracerParams:
        """The setting with these numbers of the axes' values, canonical."""
        chosen: dict[str, Any] = {axis.name: axis.values[cell] for axis, cell in zip(self.axes, cells, strict=True)}
        return essential(TracerParams.from_json({**dict(self.fixed), **chosen}))  # axes offer values on the grid only

    def centred(self, units: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points (n, size) moved to the middle of their values' shares, where `encode` puts a setting."""
        columns = []
        for i, bounds in enumerate(self._bounds):
            cells = self.cells_of(i, units)
            columns.append((bounds[cells] + bounds[cells + 1]) / 2)
        return np.stack(columns, axis=1).astype(np.float32)

    def cells(self, units: NDArray[np.float32]) -> NDArray[np.int64]:
        """Points (n, size) in [0, 1] as the number of each axis' value, (n, size).

        Equal ones decode alike; so may others, where a parameter is inactive."""
        return np.stack([self.cells_of(i, units) for i in range(self.size)], axis=1)

    def cells_of(self, axis: int, units: NDArray[np.float32]) -> NDArray[np.int64]:
        """The same of one axis, (n,)."""
        return self._bounds[axis][1:-1].searchsorted(units[:, axis], "right").astype(np.int64, copy=False)

    def encode(self, params: TracerParams) -> NDArray[np.float32]:
        """The centre of the setting's share: decode(encode(p)) == canonical(p) for every p in the space.

        A setting outside the space (the default can be) gives the nearest point. Shape (size,), each in [0, 1].
        """
        return np.array([axis.centre(getattr(params, axis.name)) for axis in self.axes], dtype=np.float32)

    def mask(self, params: TracerParams) -> NDArray[np.bool_]:
        """Which axes can change the result of this setting. Shape (size,)."""
        active = active_names(params)
        return np.array([name in active for name in self.names], dtype=np.bool_)

    def canonical(self, params: TracerParams) -> TracerParams:
        """The same setting with what is inactive at DEFAULT_PARAMS' values, and continuous values on the grid."""
        on_grid: dict[str, Any] = {name: _on_grid(getattr(params, name)) for name in CONTINUOUS}
        return essential(replace(params, **on_grid))

    def contains(self, params: TracerParams) -> bool:
        """Whether every active value is one that the space offers, or the fixed one."""
        active = active_names(params)
        offered = {axis.name: axis.values for axis in self.axes} | {name: (value,) for name, value in self.fixed}
        same = self.canonical(params)
        return all(getattr(same, name) in offered[name] for name in active) and check_params(params) is None

    def to_json(self) -> dict[str, Any]:
        return dict(self.freedoms)

    @classmethod
    def from_json(cls, values: Mapping[str, Mapping[str, Any]]) -> ParameterSpace:
        """Raises ValueError or TypeError when the values are not those of to_json."""
        if set(values) != set(PARAM_NAMES):
            raise ValueError(f"a space has {', '.join(PARAM_NAMES)}, not {', '.join(map(str, values))}")
        every = [_axis(name, values[name]) for name in PARAM_NAMES]
        return cls(
            tuple(axis for axis in every if len(axis.values) > 1),
            tuple((axis.name, axis.values[0]) for axis in every if len(axis.values) == 1),
            values,
        )
