"""Colours, numbers and gradients as the shortest SVG text."""

from __future__ import annotations

import math

from pipeline.svg.shapes import Color, Flat, LinearGradient, Paint, RadialGradient, Stop

# CSS Color 4's names that are shorter than the colour's digits, or as short and better to read.
_NAMES = {
    "#f0ffff": "azure",
    "#f5f5dc": "beige",
    "#ffe4c4": "bisque",
    "#a52a2a": "brown",
    "#ff7f50": "coral",
    "#ffd700": "gold",
    "#808080": "gray",
    "#008000": "green",
    "#4b0082": "indigo",
    "#fffff0": "ivory",
    "#f0e68c": "khaki",
    "#faf0e6": "linen",
    "#800000": "maroon",
    "#000080": "navy",
    "#808000": "olive",
    "#ffa500": "orange",
    "#da70d6": "orchid",
    "#cd853f": "peru",
    "#ffc0cb": "pink",
    "#dda0dd": "plum",
    "#800080": "purple",
    "#f00": "red",
    "#fa8072": "salmon",
    "#a0522d": "sienna",
    "#c0c0c0": "silver",
    "#fffafa": "snow",
    "#d2b48c": "tan",
    "#008080": "teal",
    "#ff6347": "tomato",
    "#ee82ee": "violet",
    "#f5deb3": "wheat",
}
_BLACK = "#000"


def color_text(color: Color) -> str:
    digits = "#{:02x}{:02x}{:02x}".format(*color)
    if digits[1::2] == digits[2::2]:
        digits = digits[0] + digits[1::2]
    return _NAMES.get(digits, digits)


def fraction_text(value: float, places: int = 2) -> str:
    """With at most so many decimals, without the zero before the point."""
    text = f"{value:.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if text in ("", "-0"):
        return "0"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def opacity_text(opacity: float) -> str:
    """Two decimals, never nothing."""
    return fraction_text(max(opacity, 0.01))


def fill(paint: Flat) -> str:
    """Attributes with a space before each; empty for opaque black, which is SVG's default."""
    color, opacity = color_text(paint.color), opacity_text(paint.opacity)
    fill = "" if color == _BLACK else f' fill="{color}"'
    return fill if opacity == "1" else f'{fill} fill-opacity="{opacity}"'


def gradient(paint: LinearGradient | RadialGradient, name: str, scale: int) -> str:
    """The element that defines it, in a coordinate system of `scale` units per pixel."""
    stops = "".join(_stop(stop) for stop in paint.stops)
    if isinstance(paint, LinearGradient):
        (x1, y1), (x2, y2) = paint.start, paint.end
        places = _places(math.dist(paint.start, paint.end) * scale, paint)
        ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
        texts = {key: fraction_text(value * scale, places) for key, value in ends.items()}
        # An absent x2 is the canvas's width; the others are 0.
        where = "".join(f' {key}="{text}"' for key, text in texts.items() if text != "0" or key == "x2")
        return f'<linearGradient id="{name}" gradientUnits="userSpaceOnUse"{where}>{stops}</linearGradient>'
    places = _places(paint.radius * scale, paint)
    ends = {"cx": paint.center[0], "cy": paint.center[1], "r": paint.radius}
    where = "".join(f' {key}="{fraction_text(value * scale, places)}"' for key, value in ends.items())
    return f'<radialGradient id="{name}" gradientUnits="userSpaceOnUse"{where}>{stops}</radialGradient>'


def _places(length: float, paint: LinearGradient | RadialGradient) -> int:
    """Decimals with which no colour is off by more than half a level of 255 through the rounding of one end."""
    channels = list(zip(*(stop.color for stop in paint.stops), strict=True))
    levels = max((max(channel) - min(channel) for channel in channels), default=0)
    opacities = [stop.opacity for stop in paint.stops] or [1.0]
    levels = max(levels, round(255 * (max(opacities) - min(opacities))), 1)
    return next((places for places in range(5) if 10**-places * levels <= length), 5)


def _stop(stop: Stop) -> str:
    offset, color, opacity = fraction_text(stop.offset), color_text(stop.color), opacity_text(stop.opacity)
    text = "" if offset == "0" else f' offset="{offset}"'
    text += "" if color == _BLACK else f' stop-color="{color}"'
    text += "" if opacity == "1" else f' stop-opacity="{opacity}"'
    return f"<stop{text}/>"


def gradient_name(number: int) -> str:
    """a to z, then aa, ab ..."""
    name = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        name = chr(ord("a") + letter) + name
    return name


def paint_key(paint: Paint) -> tuple[object, ...]:
    """Equal where the paints print the same text."""
    return (fill(paint),) if isinstance(paint, Flat) else (paint,)
