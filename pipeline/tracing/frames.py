"""What the pool and its workers say to each other: frames of a JSON header and raw bytes.

| to a worker | header | body |
|---|---|---|
| image | do, digest, height, width | RGBA pixels, packed |
| forget | do, digest | |
| job | do, digest, params, gate, keep_svg, metrics | |

A worker says once `{"ready": true, "versions": {...}}`, then answers each job, in order, with an evaluation whose SVG
is the body.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from pipeline.core.records import Evaluation, Failed, Gate, Job, Logo, Pruned, Scored, TracerParams, scores_from_json

_LENGTHS = struct.Struct("<II")

Frame = tuple[dict[str, Any], bytes]


def pack(header: dict[str, Any], body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return _LENGTHS.pack(len(text), len(body)) + text + body


class Unpacker:
    """Frames out of a stream that arrives in pieces of any size."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """The frames that `piece` completes."""
        self._waiting += piece
        while len(self._waiting) >= _LENGTHS.size:
            text, body = _LENGTHS.unpack_from(self._waiting)
            end = _LENGTHS.size + text + body
            if len(self._waiting) < end:
                return
            header = json.loads(self._waiting[_LENGTHS.size : _LENGTHS.size + text])
            content = bytes(self._waiting[_LENGTHS.size + text : end])
            del self._waiting[:end]
            yield header, content


def image_frame(job: Job) -> bytes:
    header = {"do": "image", "digest": job.logo.digest, "height": job.logo.height, "width": job.logo.width}
    return pack(header, job.logo.packed)


def forget_frame(digest: str) -> bytes:
    return pack({"do": "forget", "digest": digest})


def job_frame(job: Job) -> bytes:
    return pack(
        {
            "do": "job",
            "digest": job.logo.digest,
            "params": job.params.to_json(),
            "gate": [job.gate.max_bytes, job.gate.max_damage],
            "keep_svg": job.keep_svg,
            "metrics": job.metrics,
        }
    )


def parse_job(logo: Logo, header: dict[str, Any]) -> Job:
    params = TracerParams.from_json(header["params"])
    return Job(logo, params, Gate(*header["gate"]), header["keep_svg"], header["metrics"])


def answer_frame(evaluation: Evaluation) -> bytes:
    if isinstance(evaluation, Pruned):
        return pack({"bytes": evaluation.svg_bytes, "damage": evaluation.damage, "seconds": evaluation.seconds})
    if isinstance(evaluation, Failed):
        return pack({"kind": evaluation.kind, "detail": evaluation.detail, "seconds": evaluation.seconds})
    header = {"scores": asdict(evaluation.scores), "seconds": evaluation.seconds, "svg": evaluation.svg is not None}
    return pack(header, (evaluation.svg or "").encode())


def parse_answer(job: Job, frame: Frame) -> Evaluation:
    header, body = frame
    if "bytes" in header:
        return Pruned(job.logo.digest, job.params, header["bytes"], header["damage"], header["seconds"])
    if "kind" in header:
        return Failed(job.logo.digest, job.params, header["kind"], header["detail"], header["seconds"])
    svg = body.decode() if header["svg"] else None
    return Scored(job.logo.digest, job.params, scores_from_json(header["scores"]), header["seconds"], svg)
