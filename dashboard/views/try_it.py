"""Try it: an uploaded image, by VTracer's default and by ours with 1, 8 and 32 traces."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import frame, queries, trial
from dashboard.frame import PageContext
from dashboard.trial import Attempt, InputImage
from dashboard.viewer import viewer
from dashboard.viewer.viewer import Pane
from pipeline.core.records import OBJECTIVES
from pipeline.reports import words

TRACES = (1, 8, 32)
KINDS = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"]
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
    if given is None:
        return
    content = given.getvalue()
    asked = (hashlib.sha256(content).hexdigest(), model, objective)
    if st.button("Vectorise", icon=":material/play_arrow:"):
        st.session_state["trial"] = (asked, _work(here, content, model, objective))
    done = st.session_state.get("trial")
    if done and done[0] == asked:
        _shown(*done[1])


TrialOutput = tuple[list[Attempt], InputImage | None, str | None]
"""SVGs in order, the image, and why there are no more of them."""


def _work(here: PageContext, content: bytes, model: str, objective: str) -> TrialOutput:
    folder = queries.agent_folder(here.root) if model == NEWEST else None
    attempts: list[Attempt] = []
    image: InputImage | None = None
    bar = st.progress(0.0, text="waiting for its turn")
    try:
        with trial.one_at_a_time(), trial.image_file(content) as path:
            default, image = trial.default_of(path, here.root, _tick(bar, 0, "VTracer's default"))
            attempts.append(default)
            for number, traces in enumerate(TRACES, 1):
                attempts.append(_ours(path, here.root, traces, number, folder, objective, bar))
    except trial.TrialError as refused:
        return attempts, image, str(refused)
    finally:
        bar.empty()
    return attempts, image, None


def _ours(
    path: Path,
    root: Path,
    traces: int,
    number: int,
    folder: Path | None,
    objective: str,
    bar: Any,
) -> Attempt:
    tick = _tick(bar, number, words.counted(traces, "trace"))
    return trial.ours_of(
        path, root, traces, model=str(folder) if folder else None, objective=None if objective == OWN else objective,
        tick=tick,
    )  # fmt: skip


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
    _beside(attempts, image)
    _downloads(attempts)


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


def _beside(attempts: list[Attempt], image: InputImage) -> None:
    zoom = st.segmented_control(
        "Enlarged", [1, 3, 6], format_func=lambda n: f"{n} ×", default=1, required=True, key="zoom", bind="query-params"
    )
    panes = [Pane(label="Original", says=f"{image.width:,} × {image.height:,} pixels", picture=image.png)]
    panes += [
        Pane(label=_name(a), says=f"{a.bytes:,} bytes · damage {a.damage:.0f} px", picture=a.svg, ours=a.traces > 0)
        for a in attempts
    ]
    viewer.show(
        panes,
        mode="beside",
        width=image.width,
        height=image.height,
        zoom=float(zoom or 1),
        background="#ffffff",
        key="trial-view",
    )


def _downloads(attempts: list[Attempt]) -> None:
    with st.container(horizontal=True):
        for a in attempts:
            st.download_button(
                f"SVG, {_name(a)}", a.svg, file_name=f"{'default' if a.traces == 0 else f'{a.traces}-traces'}.svg",
                mime="image/svg+xml", key=f"svg-{a.traces}", on_click="ignore", icon=":material/download:",
            )  # fmt: skip


def _name(attempt: Attempt) -> str:
    return "VTracer's default" if attempt.traces == 0 else words.counted(attempt.traces, "trace")
