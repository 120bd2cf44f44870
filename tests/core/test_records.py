from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.core.json_records import from_json, to_json
from pipeline.core.records import (
    CATEGORIES,
    DEFAULT_PARAMS,
    OBJECTIVES,
    PARAM_NAMES,
    Evaluation,
    Failed,
    Logo,
    Pixels,
    Pruned,
    Scored,
    TracerParams,
    pixel_digest,
)
from pipeline.settings.limits import ALLOWED, is_allowed
from tests.support.fakes import metrics, scores

IMAGES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(4)))


@given(image=IMAGES)
def test_equal_pixels_have_equal_digests_whatever_their_memory(image: Pixels) -> None:
    turned = np.asfortranarray(image)
    backwards = image[::-1].copy()[::-1]
    assert pixel_digest(image) == pixel_digest(turned) == pixel_digest(backwards)
    assert len(pixel_digest(image)) == 64


@given(image=IMAGES, data=st.data())
def test_one_changed_byte_changes_the_digest(image: Pixels, data: st.DataObject) -> None:
    changed = image.copy()
    where = data.draw(st.integers(0, image.size - 1))
    changed.reshape(-1)[where] ^= 1
    assert pixel_digest(changed) != pixel_digest(image)


def test_the_same_bytes_in_another_shape_are_another_picture() -> None:
    content = np.arange(2 * 8 * 4, dtype=np.uint8)
    shapes = [(2, 8, 4), (8, 2, 4), (4, 4, 4), (1, 16, 4), (16, 1, 4)]
    assert len({pixel_digest(content.reshape(shape)) for shape in shapes}) == len(shapes)


def test_the_digest_does_not_change_between_versions() -> None:
    """It is in every splits.parquet and keeps an image where it was dealt."""
    image = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    assert pixel_digest(image) == "173b7c986be9c15faaa36c1f36507b84f66944c416d28a64b06a50c7d4e64e97"


def test_a_logo_knows_its_size_and_its_digest() -> None:
    logo = Logo.of("a.png", np.zeros((3, 5, 4), np.uint8), "text")
    assert (logo.width, logo.height) == (5, 3)
    assert logo.digest == pixel_digest(logo.rgba)


def test_params_travel_as_json() -> None:
    params = TracerParams(mode="polygon", prescale=1.5, palette=8, simplify=0.15, refit=1, steps_per_pixel=5)
    assert TracerParams.from_json(json.loads(json.dumps(params.to_json()))) == params
    assert tuple(params.to_json()) == PARAM_NAMES
    with pytest.raises(TypeError, match="speckle"):
        TracerParams.from_json({"speckle": 4})


@pytest.mark.parametrize(
    "evaluation",
    [
        Scored("d", TracerParams(palette=4), scores(damage=1 / 3, delta=0.1 + 0.2), 0.25),
        Scored("d", DEFAULT_PARAMS, scores(metrics=metrics(mse=1 / 3)), 0.25, "<svg/>"),
        Pruned("d", DEFAULT_PARAMS, 1234, None, 0.5),
        Pruned("d", DEFAULT_PARAMS, 1234, 1 / 3, 0.5),
        Failed("d", DEFAULT_PARAMS, "panic", "why", 0.5),
    ],
    ids=["scored", "with metrics", "lost by size", "lost by damage", "failed"],
)
def test_an_evaluation_travels_as_json(evaluation: Evaluation) -> None:
    assert from_json(list[Evaluation], json.loads(json.dumps([to_json(evaluation)]))) == [evaluation]


def test_metrics_that_were_not_measured_are_not_made_up() -> None:
    assert scores(metrics=metrics(ssim=0.5)).reported.ssim == 0.5
    with pytest.raises(ValueError, match="without metrics"):
        _ = scores().reported


def test_the_defaults_are_the_command_lines() -> None:
    """VTracer's own, and no preparation and no improvement; each lies in its true range."""
    assert (DEFAULT_PARAMS.mode, DEFAULT_PARAMS.path_precision) == ("spline", 2)
    assert (DEFAULT_PARAMS.prescale, DEFAULT_PARAMS.palette) == (1.0, 0)
    assert (DEFAULT_PARAMS.simplify, DEFAULT_PARAMS.refit) == (0.0, 0)
    assert DEFAULT_PARAMS.steps_per_pixel == 10**DEFAULT_PARAMS.path_precision
    assert all(is_allowed(name, getattr(DEFAULT_PARAMS, name)) for name in PARAM_NAMES)
    assert set(ALLOWED) == set(PARAM_NAMES)


def test_records_do_not_change_and_params_can_be_keys() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULT_PARAMS.mode = "none"  # type: ignore[misc]
    assert {DEFAULT_PARAMS, TracerParams(), replace(DEFAULT_PARAMS, palette=2)} == {
        TracerParams(),
        TracerParams(palette=2),
    }


def test_the_words_are_in_the_order_that_features_and_the_curriculum_rely_on() -> None:
    """One-hot positions of models that are stored: a change here is a change of agent.json's schema_version."""
    assert CATEGORIES == ("simple", "text", "gradient", "complex")
    assert OBJECTIVES == ("faithful", "smaller", "sharper", "target", "balanced")
