"""What VTracer 0.6.15, the preparation and the improvement accept, parameter by parameter."""

from __future__ import annotations

ALLOWED: dict[str, tuple[float, float] | tuple[str, ...]] = {
    "mode": ("spline", "polygon", "none"),
    "colormode": ("color", "binary"),
    "hierarchical": ("stacked", "cutout"),
    "filter_speckle": (0, 16),
    "color_precision": (1, 8),
    "layer_difference": (1, 255),
    "corner_threshold": (0, 180),
    "length_threshold": (3.5, 10.0),
    "max_iterations": (1, 20),
    "splice_threshold": (0, 180),
    "path_precision": (0, 8),
    "prescale": (1.0, 3.0),
    "palette": (0, 256),
    "simplify": (0.0, 2.0),
    "refit": (0, 1),
    "steps_per_pixel": (1, 100),
}
"""Words, or the lowest and highest number."""

CONTINUOUS = ("length_threshold", "prescale", "simplify")
"""The parameters that may be fractions; the others with numbers are whole."""


def is_allowed(name: str, value: int | float | str) -> bool:
    """Whether one value of one tracing parameter is in VTracer's true range."""
    allowed = ALLOWED[name]
    if isinstance(allowed[0], str):
        return value in allowed
    if isinstance(value, str):
        return False
    if name not in CONTINUOUS and value != int(value):
        return False
    return float(allowed[0]) <= value <= float(allowed[1]) and not (name == "palette" and value == 1)


def describe_allowed(name: str) -> str:
    """The allowed values of a tracing parameter, in words."""
    low, *middle, high = ALLOWED[name]
    if isinstance(low, str):
        return " | ".join(map(str, (low, *middle, high)))
    numbers = f"0 or 2 to {high}" if name == "palette" else f"{low} to {high}"
    return numbers if name in CONTINUOUS else f"{numbers}, whole numbers"
