"""Numbers and names as people read them: digits that mean something, units, and text that cannot break Markdown."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from pipeline.core.facts.comparison import DamageKind
from pipeline.core.intervals import Interval
from pipeline.core.records import VISIBLE_DAMAGE, ObjectiveName

DASH = "–"
"""Stands where nothing was measured, never a zero."""

NAME_LENGTH = 48

DAMAGE_VERBS: dict[DamageKind, str] = {
    "colour": "lost a colour",
    "detail": "lost a detail",
    "edge": "moved an edge",
    "transparency": "lost transparency",
    "artefact": "gained a spot",
}
DAMAGE_NOUNS: dict[DamageKind, str] = {
    "colour": "a lost colour",
    "detail": "a lost detail",
    "edge": "a moved edge",
    "transparency": "lost transparency",
    "artefact": "a spot too many",
}

FAILURE_WORDS = {
    "panic": ("panic of VTracer", "panics of VTracer"),
    "died": ("worker died", "workers died"),
    "timeout": ("timeout", "timeouts"),
    "memory": ("memory limit reached", "memory limits reached"),
    "empty": ("empty SVG", "empty SVGs"),
    "unrenderable": ("SVG that could not be drawn", "SVGs that could not be drawn"),
    "invalid": ("setting out of range", "settings out of range"),
}

LESS_MORE: dict[ObjectiveName, tuple[str, str, str]] = {
    "faithful": ("needs", "fewer bytes", "more bytes"),
    "smaller": ("needs", "fewer bytes", "more bytes"),
    "sharper": ("leaves", "less error", "more error"),
    "target": ("needs", "fewer bytes", "more bytes"),
    "balanced": ("is", "better in the objective", "worse in the objective"),
}
"""Verb, what a gain is called, what a loss is called."""

RATIO_WORDS = "SVG bytes in % of the fair default's"
"""What is plotted by number of traces, whatever the objective. The fair default is VTracer's, minified."""


def percent(share: float) -> str:
    """A share of 1 in per cent: one decimal below 10 %, none above; always positive or zero."""
    value = abs(share) * 100
    if 0 < value < 0.05:
        return "under 0.1 %"
    return f"{_digits(value)} %"


def _digits(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 and value != 0 else f"{value:.0f}"


def share_of_gain(gain: float) -> float:
    """The change in size that a gain in natural log units means: -0.12 is 12 % fewer, 0.08 is 8 % more."""
    return math.expm1(-gain)


def change(gain: float, objective: ObjectiveName) -> str:
    """ "12 % fewer bytes", "3.1 % more bytes"."""
    _, less, more = LESS_MORE[objective]
    return f"{percent(share_of_gain(gain))} {less if gain >= 0 else more}"


def signed_percent(gain: float) -> str:
    """The change in size that a gain in natural log units means: "−12 %", "+8.0 %"."""
    size = share_of_gain(gain)
    return f"{'−' if size < 0 else '+' if size > 0 else ''}{percent(size)}"


def needs(gain: float, objective: ObjectiveName) -> str:
    """ "needs 12 % fewer bytes", "is 12 % better in the objective"."""
    return f"{LESS_MORE[objective][0]} {change(gain, objective)}"


def gain_range(gain: Interval, objective: ObjectiveName) -> str:
    """The limits of a gain: "5–18 %", or where they lie on both sides of nothing, in words."""
    near, far = sorted((share_of_gain(gain.low), share_of_gain(gain.high)), key=abs)
    if gain.low >= 0 or gain.high <= 0:
        return between(abs(near), abs(far))
    _, less, more = LESS_MORE[objective]
    return f"{percent(share_of_gain(gain.low))} {more} to {percent(share_of_gain(gain.high))} {less}"


def between(low: float, high: float) -> str:
    """Two positive shares: "5.2–18 %"."""
    return f"{_digits(low * 100)}–{_digits(high * 100)} %"


def ratio(measured: Interval | None) -> str:
    """A ratio in per cent: "58 % (54–62 %)"; no limits where there is no spread."""
    if measured is None:
        return DASH
    if measured.low == measured.high:
        return percent(measured.mean)
    return f"{percent(measured.mean)} ({between(measured.low, measured.high)})"


def number(value: float | None, decimals: int = 2) -> str:
    return DASH if value is None else f"{value:,.{decimals}f}".replace("-", "−")


def signed(value: float | None, decimals: int) -> str:
    return DASH if value is None else f"{value:+,.{decimals}f}".replace("-", "−")


def interval(measured: Interval | None, decimals: int = 2) -> str:
    """ "0.58 (0.54–0.62)"; no limits where there is no spread; "to" between negative ones."""
    if measured is None:
        return DASH
    if measured.low == measured.high:
        return number(measured.mean, decimals)
    low, high = number(measured.low, decimals), number(measured.high, decimals)
    joint = " to " if measured.low < 0 else "–"
    return f"{number(measured.mean, decimals)} ({low}{joint}{high})"


def share(value: float | None) -> str:
    return DASH if value is None else percent(value)


def count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def counted(value: int, one: str, many: str = "") -> str:
    """ "1 trace", "8 traces"."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def duration(seconds: float | None) -> str:
    """ "0.8 s", "42 s", "12 min 5 s", "3 h 20 min"."""
    if seconds is None:
        return DASH
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def storage(size: int | None) -> str:
    """Bytes in decimal units: "640 bytes", "1.2 GB"."""
    if size is None:
        return DASH
    if size < 1000:
        return counted(size, "byte")
    unit, factor = next((u, f) for u, f in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)) if size < 999.5 * f or u == "GB")
    return f"{_digits(size / factor)} {unit}"


def quantity(value: float | None, unit: str) -> str:
    """A measured value in the base unit `unit`: "73 %", "1.2 GB", "61 °C"."""
    if value is None:
        return DASH
    match unit:
        case "ratio":
            return f"{_digits(value * 100)} %"
        case "bytes":
            return storage(round(value))
        case "celsius":
            return f"{value:.0f} °C"
        case "watts":
            return f"{value:.0f} W"
        case "seconds":
            return duration(value)
        case _:
            return number(value, 0 if value >= 10 or value == round(value) else 1)


def moment(seconds: float | None) -> str:
    """Seconds since 1970 as "2026-01-07 09:12 UTC"."""
    if seconds is None:
        return DASH
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def listed(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def damage_of(pixels: float) -> str:
    """ "no visible damage", "12 px damaged"."""
    return f"{number(pixels, 0)} px damaged" if pixels > VISIBLE_DAMAGE else "no visible damage"


def failures_in_words(failures: dict[str, int]) -> str:
    """ "20 panics of VTracer and 11 timeouts", the most frequent first."""
    ranked = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    return listed([counted(n, *FAILURE_WORDS.get(kind, (kind, kind))) for kind, n in ranked if n])


def damage_in_words(kinds: Iterable[DamageKind]) -> str:
    """ "2 lost a detail and 1 lost a colour", the most frequent first."""
    ranked = sorted(Counter(kinds).items(), key=lambda item: (-item[1], item[0]))
    return listed([f"{n} {DAMAGE_VERBS[kind]}" for kind, n in ranked])


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def visible(text: str) -> str:
    """Everything that would not print as itself (newlines, controls, direction marks, lone surrogates) spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, length: int = NAME_LENGTH) -> str:
    """At most `length` characters; the middle goes, since names differ at their ends."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[-tail:]}"


def without_secrets(address: str) -> str:
    """A URI without user name, password and query, which may hold a key."""
    return re.sub(r"\?.*$", "", re.sub(r"//[^/]*@", "//", address))


_MARKUP = re.compile(
    r"""[\\`*\[\]<>|~&@$]      # emphasis, code, links, tags, cells, references, mentions, formulas
    | (?<!\w)_ | _(?!\w)       # emphasis; inside a word an underscore is only itself
    | ^[-+](?=\s|$) | ^\#(?=\#{0,5}(?:\s|$)) | ^[-=](?=[-=]*\s*$)  # a list, a heading, a rule
    | (?<=^\d)[.)](?=\s|$)     # a numbered list
    | :(?=//) | (?<=www)[.]    # addresses, which GitHub links by itself
    """,
    re.VERBOSE | re.IGNORECASE,
)


def in_markdown(text: str) -> str:
    """Text as itself on GitHub, also inside a table: what could be markup becomes a character reference.

    References cannot open or close anything (CommonMark 0.31, section 2.5), a backslash before a pipe could.
    """
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", visible(text))
