"""Try it: an uploaded image, by VTracer's default and by ours with 1, 8 and 32 traces."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts, frame, queries, trial
from dashboard.frame import PageContext
from dashboard.trial import Attempt, InputImage, ParetoPoint
from dashboard.viewer import viewer
from dashboard.viewer.viewer import Pane
from pipeline.core.records import OBJECTIVES, VISIBLE_DAMAGE
from pipeline.reports import words

TRACES = (1, 8, 32)
KINDS = ["png", "jpg", "jpeg", "jfif", "bmp", "tif", "tiff", "webp"]
CHAMPION, NEWEST = "the champion", "the newest training's agent"
OWN = "what the model was trained for"


def page(here: PageContext) -> None:
    st.title("Try it")
    st.markdown(
        "An image goes in, SVGs come out: VTracer's default, and ours with 1, 8 and 32 settings tried. It is what "
        "`tracewright vectorize` does. Nothing is stored."
    )
    left, right = st.columns([3, 2], gap="large")
    with left:
        given = st.file_uploader("Image", type=KINDS, key="image-file")
        st.caption(trial.ALLOWED)
    with right:
        models = [CHAMPION, NEWEST] if queries.agent_folder(here.root) else [CHAMPION]
        model = st.selectbox("Model", models, key="model")
        objective = st.selectbox(
            "Objective", [OWN, *(o for o in OBJECTIVES if o in ("faithful", "smaller", "sharper"))], key="objective"
        )
        on_colour = st.checkbox("Put it on a colour first", help="For logos with transparency.", key="on-colour")
        background = st.color_picker("Colour", "#0b57a4", key="background") if on_colour else None
    if given is None:
        return
    content = given.getvalue()
    asked = (hashlib.sha256(content).hexdigest(), model, objective, background)
    if st.button("Vectorise", icon=":material/play_arrow:"):
        st.session_state["trial"] = (asked, _work(here, content, model, objective, background))
    done = st.session_state.get("trial")
    if done and done[0] == asked:
        _shown(*done[1])


TrialOutput = tuple[list[Attempt], InputImage | None, str | None]
"""SVGs in order, the image, and why there are no more of them."""


def _work(here: PageContext, content: bytes, model: str, objective: str, background: str | None) -> TrialOutput:
    folder = queries.agent_folder(here.root) if model == NEWEST else None
    attempts: list[Attempt] = []
    image: InputImage | None = None
    bar, place = st.progress(0.0, text="waiting for its turn"), st.empty()
    try:
        with trial.one_at_a_time(), trial.image_file(content) as path:
            default, image = trial.default_of(path, here.root, _tick(bar, 0, "VTracer's default"), background)
            attempts.append(default)
            _so_far(place, attempts, image)
            for number, traces in enumerate(TRACES, 1):
                ours = trial.ours_of(
                    path, here.root, traces, model=str(folder) if folder else None,
                    objective=None if objective == OWN else objective, background=background,
                    curve=traces == TRACES[-1], tick=_tick(bar, number, words.counted(traces, "trace")),
                )  # fmt: skip
                attempts.append(ours)
                _so_far(place, attempts, image)
    except trial.TrialError as refused:
        return attempts, image, str(refused)
    finally:
        bar.empty()
        place.empty()
    return attempts, image, None


def _so_far(place: Any, attempts: list[Attempt], image: InputImage) -> None:
    """The attempts so far, while more are made."""
    with place.container():
        viewer.show(_panes(attempts, image), width=image.width, height=image.height, key=f"so-far-{len(attempts)}")
        _table(attempts)


def _tick(bar: Any, number: int, what: str) -> Callable[[float], None]:
    steps = len(TRACES) + 1

    def tick(seconds: float) -> None:
        within = seconds / (seconds + 8)  # never done before it is
        bar.progress((number + within) / steps, text=f"{what}, {words.duration(seconds)}; step {number + 1} of {steps}")

    return tick


def _shown(attempts: list[Attempt], image: InputImage | None, refused: str | None) -> None:
    if refused:
        st.warning(frame.plain(refused), icon=":material/info:")
    if not attempts or image is None:
        return
    _table(attempts)
    if any(a.kept for a in attempts):
        st.caption("Where nothing better was found, the default's SVG is given.")
    for a in attempts:
        if a.note:
            st.caption(frame.plain(f"{_name(a)}: {a.note}."))
    point = _curve(attempts[-1])
    _beside(attempts, image, point)
    _downloads(attempts, point)


def _table(attempts: list[Attempt]) -> None:
    default = attempts[0]
    rows = [
        {
            "with": _name(a),
            "bytes": a.bytes,
            "of the default": 100 * a.bytes / default.bytes,
            "damage, px": a.damage,
            "colour error": a.delta,
            "took": words.duration(a.seconds),
        }
        for a in attempts
    ]
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, alt="Results",
        column_config={
            "bytes": st.column_config.NumberColumn(format="localized"),
            "of the default": st.column_config.NumberColumn(format="%.0f %%"),
            "damage, px": st.column_config.NumberColumn(format="%.1f"),
            "colour error": st.column_config.NumberColumn(format="%.2f"),
        },
    )  # fmt: skip


def _curve(most: Attempt) -> ParetoPoint | None:
    """Size against damage of the traces that were made, and the point that was picked there, if it is another one."""
    if len(most.curve) < 2:
        return None
    st.subheader("Size against damage")
    st.altair_chart(charts.tradeoff(most.curve, frame.palette()), alt="Damage over bytes of the traces that were made")
    at = st.selectbox(
        "Another point",
        range(len(most.curve)),
        index=next((i for i, point in enumerate(most.curve) if point.chosen), 0),
        format_func=lambda i: _point_name(most.curve[i]),
        key=f"curve-point-{most.seconds}",  # each trial begins at what was chosen
    )
    st.caption(
        f"Of {words.counted(most.traces, 'trace')} and the default, those that no other beats in both. From the knee "
        "on, more bytes buy little. `tracewright vectorize --budget-bytes` takes one of them by its size."
    )
    point = most.curve[at]
    return None if point.chosen else point


def _point_name(point: ParetoPoint) -> str:
    marks = [word for word, holds in (("chosen", point.chosen), ("the knee", point.knee)) if holds]
    seen = f"damage {point.damage:,.1f} px" if point.damage > VISIBLE_DAMAGE else "no visible damage"
    return f"{point.bytes:,} bytes, {seen}{f' ({words.listed(marks)})' if marks else ''}"


def _beside(attempts: list[Attempt], image: InputImage, point: ParetoPoint | None) -> None:
    zoom = st.segmented_control(
        "Enlarged", [1, 3, 6], format_func=lambda n: f"{n} ×", default=1, required=True, key="zoom", bind="query-params"
    )
    panes = _panes(attempts, image)
    if point:
        panes.append(Pane(label="Picked", says=_point_name(point), picture=point.svg, ours=True))
    viewer.show(
        panes,
        width=image.width,
        height=image.height,
        zoom=float(zoom or 1),
        key="trial-view",
    )


def _panes(attempts: list[Attempt], image: InputImage) -> list[Pane]:
    original = Pane(label="Original", says=f"{image.width:,} × {image.height:,} pixels", picture=image.png)
    return [
        original,
        *(
            Pane(
                label=_name(a),
                says=f"{a.bytes:,} bytes · {words.damage_of(a.damage)}",
                picture=a.svg,
                ours=a.traces > 0,
            )
            for a in attempts
        ),
    ]


def _downloads(attempts: list[Attempt], point: ParetoPoint | None) -> None:
    with st.container(horizontal=True):
        if point:
            st.download_button(
                f"SVG, {point.bytes:,} bytes", point.svg, file_name=f"{point.bytes}-bytes.svg",
                mime="image/svg+xml", key="svg-point", on_click="ignore", icon=":material/download:",
            )  # fmt: skip
        for a in attempts:
            st.download_button(
                f"SVG, {_name(a)}", a.svg, file_name=f"{'default' if a.traces == 0 else f'{a.traces}-traces'}.svg",
                mime="image/svg+xml", key=f"svg-{a.traces}", on_click="ignore", icon=":material/download:",
            )  # fmt: skip


def _name(attempt: Attempt) -> str:
    return "VTracer's default" if attempt.traces == 0 else words.counted(attempt.traces, "trace")
