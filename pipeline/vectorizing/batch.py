"""From image files to SVG files with a trained agent: what `tracewright vectorize` does, as Python calls."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from pipeline.agent.agent import Agent
from pipeline.agent.objectives import Objective
from pipeline.agent.stopping import Traces
from pipeline.agent.task import Vector
from pipeline.core.errors import DataError, ImageRejected
from pipeline.core.files import write_text, writing
from pipeline.core.pixels import opaque, rgb_of
from pipeline.core.records import Logo, Pixels
from pipeline.data.categories import categorise
from pipeline.data.images import (
    KINDS,
    MAX_NAME_BYTES,
    ImageLimits,
    PassedOver,
    decode_image,
    is_blank,
    path_of,
    path_text,
    read_image,
)
from pipeline.data.probe import measure
from pipeline.search.loop import run_agent
from pipeline.search.tasks import PendingTasks, begin_tasks
from pipeline.tracing.evaluator import Evaluator
from pipeline.vectorizing.answer import PLAIN, Options, answers_of
from pipeline.vectorizing.inputs import Entry, Folders, with_svgs
from pipeline.vectorizing.reduction import at_size, reduced

RESULTS = "results.jsonl"
MIN_SIDE_PIXELS = 8  # smaller images have no room for the scores' windows
MAX_PIXELS = 2**24
MAX_FILE_BYTES = 100_000_000

VectorizeStatus = Literal["improved", "default", "failed"]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image to vectorise. path: relative to its input, as text. svg: relative to the output folder."""

    file: Path
    path: str
    svg: Path

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """entry: from `with_svgs`."""
        assert entry.svg is not None
        return cls(path_of(entry.file), entry.path, path_of(entry.svg))


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorizeResult:
    """One line of results.jsonl.

    status: improved; default, when nothing better was found and the SVG is the default's; failed, with `error`. svg:
    the file, relative to the output folder. sha256: of that file. traces: spent beyond the default's own. seconds: its
    share of the wall clock. parsed: whether VTracer's output could be read; else the SVG is as VTracer printed it.
    note: what could not be done as asked, or not be kept. curve: the Pareto front of the traces that were measured,
    fewest bytes first: bytes, damage, knee, chosen, and with `Options.curve` the file of each as svg. What was not
    measured is null.
    """

    path: str
    status: VectorizeStatus
    svg: str | None = None
    sha256: str | None = None
    params: dict[str, Any] | None = None
    traces: int = 0
    bytes: int | None = None
    default_bytes: int | None = None
    damage: float | None = None
    default_damage: float | None = None
    delta: float | None = None
    seconds: float = 0.0
    parsed: bool | None = None
    note: str | None = None
    curve: list[dict[str, Any]] | None = None
    error: str | None = None

    def to_line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False) + "\n"


def find_sources(
    inputs: Sequence[Path], *, beside: bool = False, passed_over: PassedOver | None = None
) -> tuple[list[ImageFile], list[VectorizeResult]]:
    """All images of files and folders, and a failed result for each rejected one.

    beside: SVGs lie beside their images, and paths begin as the inputs do; else both are as in `Folders`.
    passed_over: counts what is no image by name. Raises DataError when an input does not exist or there is no image.
    """
    entries = list(with_svgs(Folders(inputs, passed_over, beside=beside).entries()))
    if not entries:
        raise DataError(f"{', '.join(map(str, inputs))}: no images found ({KINDS})")
    return (
        [ImageFile.of(entry) for entry in entries if entry.error is None],
        [VectorizeResult(path=e.path, status="failed", error=e.error) for e in entries if e.error is not None],
    )


def vectorize_files(
    sources: Sequence[ImageFile],
    output: Path,
    agent: Agent,
    evaluator: Evaluator,
    *,
    traces: Traces,
    seed: int = 0,
    batch: int = 32,
    options: Options = PLAIN,
    write: Callable[[Path, str], None] = write_text,
) -> Iterator[VectorizeResult]:
    """Vectorises images in order, `batch` at a time; each SVG is written before its result is yielded.

    The next batch is read, measured and handed to the evaluator before the searches of this one begin, so that neither
    waits for the other. write: writes an SVG, whole or not at all.

    An image that cannot be read or traced is a failed result. Raises StorageError when the output cannot be written.
    """
    starts = range(0, len(sources), batch)
    batches = (_begin_batch(sources[start : start + batch], agent, evaluator, options) for start in starts)
    following = next(batches, None)
    while (current := following) is not None:
        following = next(batches, None)
        started = time.perf_counter()
        tasks, failures = current.pending.collect()
        for logo, failed in failures:
            number = int(logo.name)
            current.results[number] = failed_result(current.members[number].path, failed.kind, failed.detail)
        outcomes = run_agent(agent, tasks, evaluator, traces=traces, seed=seed, keep_svg=True)
        for outcome, fields in zip(outcomes, answers_of(outcomes, evaluator, options), strict=True):
            number = int(outcome.task.logo.name)
            source = current.members[number]
            fields = at_size(fields, current.shapes[number], outcome.task.logo.rgba.shape)
            svg = fields.pop("svg")
            write(output / source.svg, svg)
            fields["curve"] = [_written(point, source, output, write) for point in fields["curve"]]
            current.results[number] = VectorizeResult(
                path=source.path, svg=path_text(source.svg), sha256=_sha256(svg), **fields
            )
        spent = current.seconds + time.perf_counter() - started
        for number in range(len(current.members)):
            yield replace(current.results[number], seconds=round(spent / len(current.members), 4))


def _written(
    point: dict[str, Any], source: ImageFile, output: Path, write: Callable[[Path, str], None]
) -> dict[str, Any]:
    """A point of the curve with its SVG in a file, beside that of the image: logo.svg has logo.curve/905.svg."""
    if "svg" not in point:
        return point
    folder = source.svg.with_suffix(".curve")
    if len(os.fsencode(folder.name)) > MAX_NAME_BYTES:
        folder = folder.with_name(hashlib.sha256(os.fsencode(folder.name)).hexdigest() + ".curve")
    file = folder / f"{point['bytes']}.svg"
    write(output / file, point["svg"])
    return point | {"svg": path_text(file), "sha256": _sha256(point["svg"])}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Images that were read, with their defaults on the way.

    results, and shapes before any reduction: by place. seconds: spent on it so far.
    """

    members: Sequence[ImageFile]
    shapes: dict[int, tuple[int, ...]]
    results: dict[int, VectorizeResult]
    pending: PendingTasks
    seconds: float


def _begin_batch(members: Sequence[ImageFile], agent: Agent, evaluator: Evaluator, options: Options) -> _Batch:
    """Reads and measures the images, and hands their defaults to the evaluator."""
    started = time.perf_counter()
    logos: list[Logo] = []
    measured: list[Vector] = []
    results: dict[int, VectorizeResult] = {}
    shapes: dict[int, tuple[int, ...]] = {}
    for number, source in enumerate(members):
        try:
            rgba = read_image(source.file, image_limits(options), source.path)
        except ImageRejected as error:
            results[number] = failed_result(source.path, error.reason, error.detail)
            continue
        shapes[number] = rgba.shape
        logo, measures = make_logo(str(number), rgba, agent, options)
        logos.append(logo)
        measured.append(measures)
    pending = begin_tasks(logos, evaluator, agent.background, keep_svg=True, metrics=False, measured=measured)
    return _Batch(members, shapes, results, pending, time.perf_counter() - started)


def failed_result(path: str, reason: str, detail: str) -> VectorizeResult:
    return VectorizeResult(path=path, status="failed", error=f"{reason}: {detail}")


def image_limits(options: Options) -> ImageLimits:
    """What an image to vectorise may be."""
    return ImageLimits(MIN_SIDE_PIXELS, MAX_PIXELS, MAX_FILE_BYTES, options.background)


def make_logo(name: str, rgba: Pixels, agent: Agent, options: Options = PLAIN) -> tuple[Logo, Vector]:
    """An image with the category that its pixels suggest, and its measures; a large one is reduced."""
    rgba = reduced(rgba)
    if options.background is not None:
        rgba = opaque(rgba, rgb_of(options.background))
    measures = measure(rgba, rgb_of(_backdrop(rgba, agent.background)))
    category, _ = categorise(measures)
    return Logo.of(name, rgba, category), measures.as_array()


def _backdrop(rgba: Pixels, background: str) -> str:
    """The colour to measure an image on: that of the agent's training, unless nothing is to be seen on it."""
    if not is_blank(rgba, background):
        return background
    return "#000000" if sum(rgb_of(background)) > 3 * 127 else "#ffffff"


def with_objective(agent: Agent, name: str | None, max_damage: float | None) -> Agent:
    """The same agent with another objective; None keeps the one it was trained for."""
    objective: Objective = agent.objective
    if name is not None:
        objective = replace(objective, name=name)  # type: ignore[arg-type]  # the command line checks the word
    if max_damage is not None:
        objective = replace(objective, max_damage=max_damage)
    return replace(agent, objective=objective)


def vectorize_image_bytes(
    content: bytes, agent: Agent, evaluator: Evaluator, *, traces: Traces, seed: int = 0, options: Options = PLAIN
) -> dict[str, Any]:
    """Vectorises one image file, given as bytes; as `vectorize_pixels`. Raises ImageRejected too."""
    started = time.perf_counter()
    rgba = decode_image(content, image_limits(options), "image")
    answer = vectorize_pixels(rgba, agent, evaluator, traces=traces, seed=seed, options=options)
    return answer | {"seconds": time.perf_counter() - started}


def vectorize_pixels(
    rgba: Pixels, agent: Agent, evaluator: Evaluator, *, traces: Traces, seed: int = 0, options: Options = PLAIN
) -> dict[str, Any]:
    """Vectorises one image, uint8 (H, W, 4); returns `svg` and the fields of VectorizeResult, SVGs as texts.

    Raises DataError when even VTracer's default fails on it.
    """
    started = time.perf_counter()
    logo, measures = make_logo("image", rgba, agent, options)
    tasks, failures = begin_tasks(
        [logo], evaluator, agent.background, keep_svg=True, metrics=False, measured=[measures]
    ).collect()
    if failures:
        raise DataError(f"image: VTracer failed on it: {failures[0][1].kind}: {failures[0][1].detail}")
    outcomes = run_agent(agent, tasks, evaluator, traces=traces, seed=seed, keep_svg=True)
    [answer] = answers_of(outcomes, evaluator, options)
    return at_size(answer, rgba.shape, logo.rgba.shape) | {"seconds": time.perf_counter() - started}


def open_results(output: Path) -> Path:
    """Makes the output folder and an empty results.jsonl in it. Raises StorageError before anything is traced."""
    path = output / RESULTS
    write_text(path, "")
    return path


def append_result(path: Path, result: VectorizeResult) -> None:
    """Raises StorageError."""
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(result.to_line())
