"""What every page is made with: where it looks, and the few ways in which things are said on all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.queries import RunView
from pipeline.reports.colours import DARK, LIGHT, Palette
from pipeline.reports.parts import Finding
from pipeline.reports.run_report import RunReport
from pipeline.reports.tables import TextTable
from pipeline.reports.trouble import Trouble
from pipeline.runs.state import ACTIVE

STATE_COLOURS: Mapping[str, Any] = {
    **dict.fromkeys(ACTIVE, "blue"),
    "finished": "green",
    "failed": "orange",
    "killed": "orange",
}
MARKS = {"good": ":material/check_circle:", "info": ":material/info:", "attention": ":material/error:"}
MARK_COLOURS = {"good": "green", "info": "gray", "attention": "orange"}


@dataclass(frozen=True, slots=True)
class PageContext:
    """root: the project's folder. runs: newest first. run: the one that was chosen. pages: by their addresses."""

    root: Path
    runs: Sequence[RunView]
    run: RunView | None
    pages: Mapping[str, Any] = field(default_factory=dict)

    @property
    def newest_reported(self) -> RunView | None:
        return next((run for run in self.runs if run.report), None)


def palette() -> Palette:
    """That of the theme in which the page is seen."""
    return DARK if st.context.theme.type == "dark" else LIGHT


def plain(text: str) -> str:
    """Any text as itself where Markdown is read: every mark that could mean something is a character reference."""
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return re.sub(r"[^\w\s,.;()%/+−–·×÷'’-]|^[-+.\d]|(?<=\s)[-+](?=\s)", lambda m: f"&#{ord(m[0])};", visible)


def empty(says: str, command: str | None = None) -> None:
    """Nothing to show yet, and what to run for it."""
    st.info(says, icon=":material/info:")
    if command:
        st.code(command, language=None, wrap_lines=True)


def trouble(found: Trouble) -> None:
    """Something on disk that cannot be read: said, not raised."""
    st.warning(plain(found.text), icon=":material/error:")


def report_of(here: PageContext) -> tuple[RunView, RunReport] | None:
    """The chosen run with its report; says so and gives None where it has none yet.

    While the newest is still being trained, the newest with a report stands in for it.
    """
    run = here.run
    if run is None:
        empty("Nothing has been run in this folder yet. This trains, compares and reports:", "make repro")
        return None
    if run.trouble:
        trouble(run.trouble)
        return None
    if run.report:
        return run, run.report
    if run.state not in ACTIVE:
        empty(f"Run {run.short} ({run.state}) has no report. Resume it:", "make repro")
        return None
    empty(f"Run {run.short} is being trained; its report comes when it has been evaluated.")
    st.page_link(here.pages["training"], label="Follow the training", icon=":material/monitoring:")
    newest = here.newest_reported
    if newest is None or newest.report is None or run is not here.runs[0]:
        return None
    st.caption(f"Meanwhile, the newest run that has a report: {newest.label}.")
    return newest, newest.report


def findings(found: Sequence[Finding], most: int | None = None) -> None:
    """One line each, with a mark for its level."""
    for finding in found[:most]:
        colour, mark = MARK_COLOURS[finding.level], MARKS[finding.level]
        st.markdown(f":{colour}[{mark}] {_with_commands(finding.text)}")
    if most is not None and len(found) > most:
        st.caption(f"and {len(found) - most} more on the page Results")


def _with_commands(text: str) -> str:
    """As plain, but what stands between backticks and is nothing but a command is set as one."""
    return "".join(
        part if re.fullmatch(r"`[\w ./-]+`", part) else plain(part) for part in re.split(r"(`[\w ./-]+`)", text)
    )


def table(shown: TextTable, *, height: int | str = "content", key: str | None = None, alt: str | None = None) -> None:
    """A table of the report; the rows that it has in bold stand out."""
    columns = _distinct(shown.columns)
    frame = pd.DataFrame([list(row) for row in shown.rows], columns=columns)
    config = {
        name: st.column_config.TextColumn(
            alignment="left" if i in shown.left else "right", width=_width([row[i] for row in shown.rows])
        )
        for i, name in enumerate(columns)
    }
    styled: Any = frame
    if shown.strong:
        strong = f"background-color: {palette().faint}; font-weight: bold"
        styled = frame.style.apply(lambda row: [strong if row.name in shown.strong else ""] * len(row), axis=1)
    st.dataframe(styled, hide_index=True, column_config=config, height=height, key=key, alt=alt)  # type: ignore[arg-type]


def _width(cells: Sequence[str]) -> int | None:
    """In pixels, of a column with long cells, which would be cut; others are left to the table."""
    longest = max(map(len, cells), default=0)
    return min(420, 7 * longest + 24) if longest > 24 else None


def _distinct(names: Sequence[str]) -> list[str]:
    return [name + "\u200b" * names[:i].count(name) for i, name in enumerate(names)]


def state_badge(state: str) -> None:
    st.badge(state, color=STATE_COLOURS.get(state, "gray"))
