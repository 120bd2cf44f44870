"""What the pool and its workers say to each other: frames of a JSON header and raw bytes.

| to a worker | header | body |
|---|---|---|
| image | do, digest, height, width | RGBA pixels, packed |
| forget | do, digest | |
| job | do, digest, params, gate, keep_svg | |

A worker says once `{"ready": true, "versions": {...}}`, then answers each job, in order, with an evaluation whose SVG
is the body.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from pipeline.core.records import Evaluation, Failed, Job, Lost, Scored, Scores, TracerParams

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
    gate = [job.gate.max_bytes, job.gate.min_ssim]
    return pack(
        {
            "do": "job",
            "digest": job.logo.digest,
            "params": job.params.to_json(),
            "gate": gate,
            "keep_svg": job.keep_svg,
        }
    )


def answer_frame(evaluation: Evaluation) -> bytes:
    if isinstance(evaluation, Lost):
        return pack({"bytes": evaluation.svg_bytes, "ssim": evaluation.ssim, "seconds": evaluation.seconds})
    if isinstance(evaluation, Failed):
        return pack({"kind": evaluation.kind, "detail": evaluation.detail, "seconds": evaluation.seconds})
    scores = {name: getattr(evaluation.scores, name) for name in Scores.__dataclass_fields__}
    header = {"scores": scores, "seconds": evaluation.seconds, "svg": evaluation.svg is not None}
    return pack(header, (evaluation.svg or "").encode())


def parse_answer(job: Job, frame: Frame) -> Evaluation:
    header, body = frame
    if "bytes" in header:
        return Lost(job.logo.digest, job.params, header["bytes"], header["ssim"], header["seconds"])
    if "kind" in header:
        return Failed(job.logo.digest, job.params, header["kind"], header["detail"], header["seconds"])
    svg = body.decode() if header["svg"] else None
    return Scored(job.logo.digest, job.params, Scores(**header["scores"]), header["seconds"], svg)


def params_of(header: dict[str, Any]) -> TracerParams:
    return TracerParams.from_json(header["params"])
