"""Path data in the fewest characters: which command, relative or absolute, for every segment of a drawing at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.svg.segments import Booleans, Integers, Segments, close_with_line

MOVE, LINE, HORIZONTAL, VERTICAL, CUBIC, SMOOTH, QUADRATIC, SMOOTH_QUADRATIC = range(8)
_LETTERS = "mlhvcsqt"
_PRINTED = np.array(
    [
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
        [1, 1, 1, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
        [1, 1, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 1],
    ],
    dtype=np.bool_,
)
"""By command: which of x1, y1, x2, y2, x, y are written."""
_FIRST_NUMBER = np.array([4, 4, 4, 5, 0, 2, 0, 4])

_CLOSE, _PATH = 32, 64
"""Added to a command's code: `z` comes before it, or a new path begins with it."""


@dataclass(frozen=True, slots=True)
class Notation:
    """How the grid is written. steps: per pixel. decimals: in pixels, with at most so many; None: in whole steps."""

    steps: int
    decimals: int | None = None

    @classmethod
    def of_decimals(cls, steps: int) -> Notation | None:
        """None where steps have no short decimals, as thirds have none."""
        places = next((places for places in range(4) if 10**places % steps == 0), None)
        return None if places is None else cls(steps, places)

    def lengths(self, values: Integers) -> Integers:
        """Characters of each number with the space or the minus before it."""
        magnitudes = np.abs(values)
        if not self.decimals:
            return 1 + _digits(magnitudes)
        unit = 10**self.decimals
        scaled = magnitudes * (unit // self.steps)
        whole, fraction = np.divmod(scaled, unit)
        places = np.zeros_like(values)
        for power in range(self.decimals):
            places += fraction % 10 ** (power + 1) != 0
        bare = (whole == 0) & (fraction != 0)
        # A point that comes first needs no space after a number that has one already, as most have.
        return np.where(bare, values < 0, 1 + _digits(whole)) + places + (places > 0)

    def write(self, template: str, values: list[int]) -> str:
        """The values put in a template, with the fewest separators."""
        if not self.decimals:
            return (template % tuple(values)).replace(" -", "-")
        text = (template.replace("%d", "%s") % tuple(map(_decimals(self.steps).__getitem__, values))).replace(" -", "-")
        return _NEEDLESS_SPACE.sub("", text)

    def number(self, value: int) -> str:
        return _decimals(self.steps)[value] if self.decimals else str(value)


_NEEDLESS_SPACE = re.compile(r" (?=\.)(?:(?<=\.\d )|(?<=\.\d\d )|(?<=\.\d\d\d ))")


class _Decimals(dict[int, str]):
    """The text of each number of steps, kept: a grid has few numbers, and most come again."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def __missing__(self, value: int) -> str:
        if len(self) > _KEPT:
            self.clear()
        text = f"{value / self._steps:.3f}".rstrip("0").rstrip(".")
        self[value] = text = text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
        return text


_KEPT = 1 << 16


@lru_cache
def _decimals(steps: int) -> _Decimals:
    return _Decimals(steps)


def _digits(magnitudes: Integers) -> Integers:
    digits = np.ones_like(magnitudes)
    power = 10
    largest = int(magnitudes.max(initial=0))
    while power <= largest:
        digits += magnitudes >= power
        power *= 10
    return digits


def path_data(segments: Segments, paths: Integers, notation: Notation) -> list[str]:
    """The path data of each path, in the order of the paths' numbers.

    paths: int64 (n,), rising: the number of the path of each segment. A loop belongs to one path.
    A loop ends in `z` where a line closes it; where it comes back to its start it needs none to be filled.
    """
    if not len(segments):
        return []
    chord = segments.ends - segments.starts()
    segments, lined = close_with_line(segments, (notation.lengths(chord) * (chord != 0)).sum(axis=1))
    commands, points, origins, closes, begins = _commands(segments, paths, lined)
    absolute = points.reshape(-1, 6)
    relative = (points - origins[:, None]).reshape(-1, 6)
    # The second half of each loop's closing line is its `z`.
    code = _shortest(commands, relative, absolute, notation) + _CLOSE * closes + _PATH * begins
    values = np.where((code & 8 > 0)[:, None], absolute, relative)[_PRINTED[commands]]
    template = "".join(map(_PIECES.__getitem__, code.tolist()))
    data = notation.write(template, values.tolist()).split("\n")
    return [*data[1:-1], data[-1] + "z" * bool(lined[-1])]


def _commands(
    segments: Segments, paths: Integers, lined: Booleans
) -> tuple[Integers, Integers, Integers, Booleans, Booleans]:
    """One row for each command, the closing lines left out: its command, its points int64 (n, 3, 2), its origin
    int64 (n, 2), and whether a loop that a `z` must close comes before it, and whether a path begins with it."""
    starts = segments.starts()
    firsts = segments.firsts()
    lasts = np.append(firsts[1:], len(segments)) - 1
    kinds = _kinds(segments, starts, firsts)
    # Each loop's row for its move takes the place of its closing line, or is inserted.
    count = len(segments) + len(firsts)
    ranks = np.arange(len(firsts))
    moves = firsts + ranks
    is_segment = np.ones(count, dtype=np.bool_)
    is_segment[moves] = False
    commands = np.zeros(count, dtype=np.int64)
    points = np.zeros((count, 3, 2), dtype=np.int64)
    origins = np.zeros((count, 2), dtype=np.int64)
    commands[is_segment] = kinds
    points[is_segment, :2] = segments.controls
    points[is_segment, 2] = segments.ends
    origins[is_segment] = starts
    corners = segments.ends[lasts]
    points[moves, 2] = corners
    begins_path = np.diff(paths[firsts], prepend=-1) != 0
    origins[moves[1:]] = np.where(begins_path[1:, None], 0, corners[:-1])
    closes = np.zeros(count, dtype=np.bool_)
    closes[moves[1:]] = lined[:-1]
    begins = np.zeros(count, dtype=np.bool_)
    begins[moves] = begins_path
    kept = np.ones(count, dtype=np.bool_)
    kept[(lasts + ranks + 1)[lined]] = False
    return commands[kept], points[kept], origins[kept], closes[kept], begins[kept]


def _kinds(segments: Segments, starts: Integers, firsts: Integers) -> Integers:
    """The command of each segment that writes the fewest numbers."""
    controls, degrees = segments.controls, segments.degrees
    chord = segments.ends - starts
    kinds = np.where(chord[:, 1] == 0, HORIZONTAL, np.where(chord[:, 0] == 0, VERTICAL, LINE))
    after_its_kind = degrees == np.roll(degrees, 1)
    after_its_kind[firsts] = False
    mirror = np.where(after_its_kind[:, None], 2 * starts - np.roll(controls[:, 1], 1, axis=0), starts)
    matches = (controls[:, 0] == mirror).all(axis=1)
    cubics = np.where(matches, SMOOTH, CUBIC)
    return np.where(degrees == 1, kinds, np.where(degrees == 3, cubics, cubics + (QUADRATIC - CUBIC)))


def _shortest(commands: Integers, relative: Integers, absolute: Integers, notation: Notation) -> Integers:
    """The code of each row: its command, + 8 where absolute, + 16 where it writes no letter.

    A letter stands for the space before a number, so it costs a character before a minus only. The choice between
    relative and absolute is exact but for what decimals save between two points (Viterbi, two states).
    """
    printed = _PRINTED[commands]
    lengths = notation.lengths(np.stack([relative, absolute])) * printed
    rows = np.arange(len(commands))
    leading = _FIRST_NUMBER[commands]
    minus = [(relative[rows, leading] < 0).tolist(), (absolute[rows, leading] < 0).tolist()]
    totals = lengths.sum(axis=2).tolist()
    previous = np.concatenate([[-1], np.maximum(commands[:-1], LINE)])
    goes_on = (commands == previous).tolist()
    from_absolute: list[tuple[bool, bool]] = []
    total_relative = total_absolute = 0
    for same, length_r, length_a, minus_r, minus_a in zip(goes_on, *totals, *minus, strict=True):
        stay_r = total_relative if same else total_relative + minus_r
        stay_a = total_absolute if same else total_absolute + minus_a
        change_r, change_a = total_absolute + minus_r, total_relative + minus_a
        to_relative, to_absolute = change_r < stay_r, change_a < stay_a
        from_absolute.append((to_relative, not to_absolute))
        total_relative = (change_r if to_relative else stay_r) + length_r
        total_absolute = (change_a if to_absolute else stay_a) + length_a
    state = total_absolute < total_relative
    states = []
    for choice in reversed(from_absolute):
        states.append(state)
        state = choice[state]
    is_absolute: NDArray[np.bool_] = np.array(states[::-1])
    omits = np.array(goes_on) & (is_absolute == np.concatenate([[False], is_absolute[:-1]]))
    omits &= commands != MOVE
    code: Integers = commands + 8 * is_absolute + 16 * omits
    return code


def _piece(code: int) -> str:
    command = code & 7
    letter = " " if code & 16 else _LETTERS[command].upper() if code & 8 else _LETTERS[command]
    numbers = " ".join(["%d"] * int(_PRINTED[command].sum()))
    return "z" * bool(code & _CLOSE) + "\n" * bool(code & _PATH) + letter + numbers


_PIECES = [_piece(code) for code in range(128)]
