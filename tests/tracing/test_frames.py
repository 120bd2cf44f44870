"""Frames survive being cut anywhere, and evaluations survive the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import (
    DEFAULT_PARAMS,
    EVERYTHING,
    Failed,
    Gate,
    Job,
    Logo,
    Metrics,
    Pruned,
    Scored,
    Scores,
    TracerParams,
    unpack_pixels,
)
from pipeline.tracing.frames import Unpacker, answer_frame, image_frame, job_frame, pack, parse_answer, parse_job

METRICS = Metrics(gzip_bytes=9, ssim=0.1 + 0.2, skill=-1e-9, mse=1 / 3, psnr=100.0, zoom_ssim=0.5)
SCORES = Scores(svg_bytes=10, traced_bytes=30, paths=1, nodes=4, damage=1 / 3, delta=0.1 + 0.2)


@given(st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=40)), max_size=6), st.integers(1, 9))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(messages: list[tuple[str, bytes]], cut: int) -> None:
    stream = b"".join(pack({"text": text}, body) for text, body in messages)
    unpacker = Unpacker()
    pieces = [stream[i : i + cut] for i in range(0, len(stream), cut)]
    assert [(h["text"], b) for piece in pieces for h, b in unpacker.feed(piece)] == messages


def test_evaluations_come_back_equal(logo: Logo) -> None:
    job = Job(logo, DEFAULT_PARAMS)
    for evaluation in (
        Scored(logo.digest, DEFAULT_PARAMS, SCORES, 0.25, "<svg>é</svg>"),
        Scored(logo.digest, DEFAULT_PARAMS, SCORES, 0.25),
        Scored(logo.digest, DEFAULT_PARAMS, replace(SCORES, metrics=METRICS), 0.25),
        Pruned(logo.digest, DEFAULT_PARAMS, 1234, None, 0.5),
        Pruned(logo.digest, DEFAULT_PARAMS, 1234, 1 / 3, 0.5),
        Failed(logo.digest, DEFAULT_PARAMS, "panic", "why", 0.5),
    ):
        (frame,) = Unpacker().feed(answer_frame(evaluation))
        assert parse_answer(job, frame) == evaluation


@pytest.mark.parametrize("gate", [EVERYTHING, Gate(max_bytes=1000.5), Gate(1000, 4.0)])
@pytest.mark.parametrize("wanted", [(False, False), (True, False), (False, True)])
def test_a_job_comes_back_equal_and_its_image_too(logo: Logo, gate: Gate, wanted: tuple[bool, bool]) -> None:
    params = TracerParams(simplify=0.15, refit=1, steps_per_pixel=4)
    job = Job(logo, params, gate, *wanted)
    image, header = Unpacker().feed(image_frame(job) + job_frame(job))
    assert np.array_equal(unpack_pixels(image[1], logo.width, logo.height), logo.rgba)
    assert parse_job(logo, header[0]) == job
