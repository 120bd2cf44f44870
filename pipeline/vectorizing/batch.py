"""From image files to SVG files with a trained agent: what `tracewright vectorize` does, as Python calls."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.agent.agent import Agent
from pipeline.agent.objectives import Objective
from pipeline.agent.task import Task, Vector
from pipeline.core.errors import DataError, ImageRejected, StorageError
from pipeline.core.files import write_text
from pipeline.core.pixels import rgb_of
from pipeline.core.records import DEFAULT_PARAMS, Logo, Pixels, TracerParams
from pipeline.data.categories import categorise
from pipeline.data.images import Limits, decode_image, list_images, path_text, read_image
from pipeline.data.probe import measure
from pipeline.search.loop import Outcome, run_agent, svg_text
from pipeline.search.tasks import PendingTasks, begin_tasks
from pipeline.tracing.tracer_pool import Evaluator

RESULTS = "results.jsonl"
MIN_SIDE_PIXELS = 8  # smaller images have no room for the scores' windows
MAX_PIXELS = 2**24
MAX_FILE_BYTES = 100_000_000
MAX_NAME_BYTES = 255  # of one file name, on every usual file system

Status = Literal["improved", "default", "failed"]


@dataclass(frozen=True, slots=True)
class Source:
    """An image to be done. path: relative to the input it came from, as text. svg: relative to the output folder."""

    file: Path
    path: str
    svg: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of results.jsonl.

    status: improved; default, where nothing better was found and the default's SVG is given; failed, with `error`.
    svg: the file, relative to the output folder. traces: spent beyond the default's own. seconds: its share of the
    wall clock. What was not measured is null.
    """

    path: str
    status: Status
    svg: str | None = None
    params: dict[str, Any] | None = None
    traces: int = 0
    ssim: float | None = None
    zoom_ssim: float | None = None
    skill: float | None = None
    bytes: int | None = None
    default_bytes: int | None = None
    seconds: float = 0.0
    error: str | None = None

    def to_line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False) + "\n"


def find_sources(inputs: Sequence[Path]) -> tuple[list[Source], list[Result]]:
    """All images of files and folders, and what was turned away.

    Each SVG is named after its image; where two images would share one, the later keeps its own suffix too, or gets
    a number. Raises DataError when an input does not exist or nothing is left.
    """
    missing = [str(p) for p in inputs if not p.exists()]
    if missing:
        raise DataError(f"{', '.join(missing)}: no such file or folder; give image files or folders of them")
    sources: list[Source] = []
    rejected: list[Result] = []
    taken: set[Path] = set()
    for given in inputs:
        found, turned_away = list_images(given) if given.is_dir() else ([Path(given.name)], [])
        rejected += [failed_result(r.path, r.reason, r.detail) for r in turned_away]
        root = given if given.is_dir() else given.parent
        for relative in found:
            svg = _free_name(relative, taken)
            taken.add(svg)
            sources.append(Source(root / relative, path_text(relative), svg))
    if not sources and not rejected:
        raise DataError(f"{', '.join(map(str, inputs))}: no images found (png, jpg, jpeg, bmp, tiff, webp)")
    return sources, rejected


def _free_name(relative: Path, taken: set[Path]) -> Path:
    plain = relative.with_suffix(".svg")
    full = relative.with_name(relative.name + ".svg")
    numbered = (relative.with_name(f"{relative.stem}-{n}.svg") for n in range(2, len(taken) + 3))
    last_resort = relative.with_name(hashlib.sha256(path_text(relative).encode()).hexdigest() + f"-{len(taken)}.svg")
    names = [plain, full, *numbered, last_resort]
    return next(n for n in names if n not in taken and len(os.fsencode(n.name)) <= MAX_NAME_BYTES)


def vectorize_files(
    sources: Sequence[Source],
    output: Path,
    agent: Agent,
    evaluator: Evaluator,
    *,
    traces: int,
    seed: int = 0,
    batch: int = 32,
    write: Callable[[Path, str], None] = write_text,
) -> Iterator[Result]:
    """Vectorise image after image, `batch` at a time; each SVG is written before its result is yielded.

    The next batch is read, measured and handed to the evaluator before the searches of this one begin, so that neither
    waits for the other. write: writes an SVG, whole or not at all.

    An image that cannot be read or traced is a failed result. Raises StorageError when the output cannot be written.
    """
    batches = (sources[start : start + batch] for start in range(0, len(sources), batch))
    begun = (_Batch.begun(members, agent, evaluator) for members in batches)
    for current in _one_ahead(begun):
        started = time.perf_counter()
        tasks = current.tasks()
        for outcome in run_agent(agent, tasks, evaluator, traces=traces, seed=seed, keep_svg=True):
            number = int(outcome.task.logo.name)
            current.results[number] = _written(outcome, current.members[number], output, write)
        spent = current.seconds + time.perf_counter() - started
        for number in range(len(current.members)):
            yield replace(current.results[number], seconds=round(spent / len(current.members), 4))


def _one_ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """The same, each after the one that follows it was begun."""
    waiting: _Batch | None = None
    for following in batches:
        if waiting is not None:
            yield waiting
        waiting = following
    if waiting is not None:
        yield waiting


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Images that were read, with their defaults on the way. results: by place. seconds: spent on it so far."""

    members: Sequence[Source]
    results: dict[int, Result]
    pending: PendingTasks
    seconds: float

    @classmethod
    def begun(cls, members: Sequence[Source], agent: Agent, evaluator: Evaluator) -> _Batch:
        started = time.perf_counter()
        limits = Limits(MIN_SIDE_PIXELS, MAX_PIXELS, MAX_FILE_BYTES, agent.background)
        logos: list[Logo] = []
        measured: list[Vector] = []
        results: dict[int, Result] = {}
        for number, source in enumerate(members):
            try:
                rgba = read_image(source.file, limits, source.path)
            except ImageRejected as error:
                results[number] = failed_result(source.path, error.reason, error.detail)
                continue
            logo, measures = make_logo(str(number), rgba, agent)
            logos.append(logo)
            measured.append(measures)
        pending = begin_tasks(logos, evaluator, agent.background, keep_svg=True, measured=measured, needed_only=True)
        return cls(members, results, pending, time.perf_counter() - started)

    def tasks(self) -> list[Task]:
        """What can be searched; what the default fails on is a result."""
        tasks, failures = self.pending.collect()
        for logo, failed in failures:
            number = int(logo.name)
            self.results[number] = failed_result(self.members[number].path, failed.kind, failed.detail)
        return tasks


def failed_result(path: str, reason: str, detail: str) -> Result:
    return Result(path=path, status="failed", error=f"{reason}: {detail}")


def make_logo(name: str, rgba: Pixels, agent: Agent) -> tuple[Logo, Vector]:
    """An image with the category that its pixels tell, and its measures."""
    measures = measure(rgba, rgb_of(agent.background))
    category, _ = categorise(measures)
    return Logo.of(name, rgba, category), measures.as_array()


def _written(outcome: Outcome, source: Source, output: Path, write: Callable[[Path, str], None]) -> Result:
    best = outcome.best_at(len(outcome.bests))
    chosen = best or outcome.task.default
    write(output / source.svg, svg_text(chosen))
    return Result(
        path=source.path,
        status="improved" if best else "default",
        svg=path_text(source.svg),
        params=shown_params(chosen.params),
        traces=len(outcome.values),
        ssim=chosen.scores.ssim,
        zoom_ssim=chosen.scores.zoom_ssim,
        skill=chosen.scores.skill,
        bytes=chosen.scores.svg_bytes,
        default_bytes=outcome.task.scores.svg_bytes,
    )


def shown_params(params: TracerParams) -> dict[str, Any]:
    """VTracer's names and values, with the preparation only where it is used."""
    values = params.to_json()
    for name in ("prescale", "palette"):
        if values[name] == getattr(DEFAULT_PARAMS, name):
            del values[name]
    return values


def with_objective(agent: Agent, name: str | None, target: float | None) -> Agent:
    """The same agent seeking another objective; None keeps the one it was trained for."""
    objective: Objective = agent.objective
    if name is not None:
        objective = replace(objective, name=name)  # type: ignore[arg-type]  # the command line checks the word
    if target is not None:
        objective = replace(objective, target=target)
    return replace(agent, objective=objective)


def vectorize_image_bytes(
    content: bytes, agent: Agent, evaluator: Evaluator, *, traces: int, seed: int = 0
) -> dict[str, Any]:
    """One image file's bytes to `svg` and the fields of Result.

    Raises ImageRejected when it cannot be decoded, DataError when even VTracer's default fails on it.
    """
    started = time.perf_counter()
    limits = Limits(MIN_SIDE_PIXELS, MAX_PIXELS, MAX_FILE_BYTES, agent.background)
    logo, measures = make_logo("image", decode_image(content, limits, "image"), agent)
    tasks, failures = begin_tasks(
        [logo], evaluator, agent.background, keep_svg=True, measured=[measures], needed_only=True
    ).collect()
    if failures:
        raise DataError(f"image: VTracer failed on it: {failures[0][1].kind}: {failures[0][1].detail}")
    [outcome] = run_agent(agent, tasks, evaluator, traces=traces, seed=seed, keep_svg=True)
    chosen = outcome.chosen_at(traces)
    return {
        "svg": svg_text(chosen),
        "status": "improved" if outcome.best_at(traces) else "default",
        "params": shown_params(chosen.params),
        "traces": len(outcome.values),
        "ssim": chosen.scores.ssim,
        "zoom_ssim": chosen.scores.zoom_ssim,
        "skill": chosen.scores.skill,
        "bytes": chosen.scores.svg_bytes,
        "default_bytes": outcome.task.scores.svg_bytes,
        "seconds": time.perf_counter() - started,
    }


def open_results(output: Path) -> Path:
    """Make the output folder and an empty results.jsonl in it. Raises StorageError before anything is traced."""
    path = output / RESULTS
    write_text(path, "")
    return path


def append_result(path: Path, result: Result) -> None:
    """Raises StorageError."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(result.to_line())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); is the disk full?") from error
