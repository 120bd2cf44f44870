"""Whether what `tracewright vectorize` wrote is still what it wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.core.errors import DataError, TracewrightError
from pipeline.core.files import json_text
from pipeline.data.images import path_of
from pipeline.runs.diagnosis import Diagnosis, sha256_if_there
from pipeline.vectorizing.batch import RESULTS, VectorizeResult
from pipeline.vectorizing.plan import PARTS, PLAN, Plan, open_plan
from pipeline.vectorizing.session import SUMMARY, summary_of
from pipeline.vectorizing.table import read_results, read_tally

SUBJECT = "vectorised"


def sharded_outputs(root: Path) -> list[Path]:
    """The folders in `root` that a sharded run writes to."""
    return sorted(folder.parents[len(PLAN.parts) - 1] for folder in root.glob(f"*/{PLAN}"))


def examine_output(output: Path) -> Iterator[Diagnosis]:
    """Plan, parts, results and SVGs of the folder of a run, sharded or not."""
    troubles: list[str] = []
    try:
        plan = open_plan(output)
        results = _lines(output / RESULTS) if plan is None else _plan(plan, troubles)
        count = 0
        for made_again, result in results:
            files = [(result.svg, result.sha256), *((p.get("svg"), p.get("sha256")) for p in result.curve or [])]
            for svg, digest in files:
                count += svg is not None
                if svg is not None and sha256_if_there(path := output / path_of(svg)) != digest:
                    troubles.append(f"{path}: is not the SVG that was written; {made_again}")
    except TracewrightError as error:
        troubles.append(str(error))
    yield from (Diagnosis("damaged", SUBJECT, trouble) for trouble in troubles)
    if not troubles:
        yield Diagnosis("fine", SUBJECT, f"{output}: {count} SVGs and their results are those that were written")


def _lines(path: Path) -> Iterator[tuple[str, VectorizeResult]]:
    """What a run without shards wrote; what makes each result again. Raises DataError."""
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                result = VectorizeResult(**json.loads(line))
                yield f"vectorise {result.path} again", result
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); name a folder that has one, or vectorise again") from error


def _plan(plan: Plan, troubles: list[str]) -> Iterator[tuple[str, VectorizeResult]]:
    """What the parts hold; what is wrong with files other than SVGs is added to `troubles`."""
    parts = [plan.part(shard) for shard in range(plan.shards)]
    unreadable: list[str] = []
    for shard, part in enumerate(parts):
        try:
            plan.entries(shard)
        except DataError as error:
            unreadable.append(str(error))
        try:
            for result in read_results(part) if part.is_file() else ():
                yield f"delete {part}, and the same command makes it again", result
        except DataError as error:
            unreadable.append(str(error))
    troubles += unreadable
    if unreadable or plan.missing() or not (plan.output / RESULTS).exists():
        return
    advice = "is not what the parts say; the same command writes it again"
    if not _same_lines(plan.output / RESULTS, (r.to_line() for part in parts for r in read_results(part))):
        troubles.append(f"{plan.output / RESULTS}: {advice}")
    summary = plan.output / PARTS / SUMMARY
    if sha256_if_there(summary) != hashlib.sha256(json_text(summary_of(plan, read_tally(parts))).encode()).hexdigest():
        troubles.append(f"{summary}: {advice}")


def _same_lines(path: Path, expected: Iterable[str]) -> bool:
    with path.open("rb") as file:
        return all(file.readline() == line.encode() for line in expected) and not file.read(1)
