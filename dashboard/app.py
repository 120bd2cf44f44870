"""The app: pages over what a project's runs left. `python -m dashboard` starts it; dashboard/queries.py reads.

The pages are in views/: of a folder called pages/ Streamlit would run each file by itself when its address is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from dashboard import frame, queries
from dashboard.frame import PageContext
from dashboard.views import compare, dataset, images, models, overview, resources, results, training, try_it

ICON = Path(__file__).parent / "icon.png"
PAGES = {
    "overview": (overview.page, "Overview", ":material/home:"),
    "dataset": (dataset.page, "Dataset", ":material/photo_library:"),
    "training": (training.page, "Training", ":material/monitoring:"),
    "results": (results.page, "Results", ":material/bar_chart:"),
    "images": (images.page, "Images", ":material/compare:"),
    "models": (models.page, "Models", ":material/deployed_code:"),
    "resources": (resources.page, "Resources", ":material/memory:"),
    "compare": (compare.page, "Compare", ":material/difference:"),
    "try-it": (try_it.page, "Try it", ":material/upload:"),
}
OF_ONE_RUN = {"training", "results", "images", "resources"}


def main(first: str = "overview") -> None:
    """first: the address of the page that opens where none is named."""
    st.set_page_config(page_title="tracewright", page_icon=str(ICON), layout="wide")
    here: list[PageContext] = []
    pages = {
        address: st.Page(_shown(show, here), title=title, icon=icon, url_path=address, default=address == first)
        for address, (show, title, icon) in PAGES.items()
    }
    chosen = st.navigation(list(pages.values()))
    root = queries.project()
    if root is None:
        st.title("tracewright")
        frame.empty(
            "No project here: a project's folder has params.yaml and dvc.yaml. Start the app in one, or name it:",
            f"{queries.PROJECT}=path/to/project python -m dashboard",
        )
        return
    runs = queries.runs(root)
    address = next(address for address, page in pages.items() if page.title == chosen.title)
    here.append(PageContext(root, runs, _chosen_run(runs, shown=address in OF_ONE_RUN), pages))
    chosen.run()


def _shown(page: Callable[[PageContext], None], here: list[PageContext]) -> Callable[[], None]:
    """A page as Streamlit calls it. here: filled in before it is called."""
    return lambda: page(here[0])


def _chosen_run(runs: list[queries.RunView], *, shown: bool) -> queries.RunView | None:
    """The run that the address names, else the one picked before, else the newest.

    It is picked in the sidebar of pages that are about one run. An address that changed goes before what was picked;
    what is picked goes into the address, so that it can be shared.
    """
    if not runs:
        return None
    by_id = {run.run_id: run for run in runs}
    state, asked = st.session_state, st.query_params.get("run")
    if asked in by_id and asked != state.get("run_in_address"):
        state["run"] = asked
    if state.get("run") not in by_id:
        state["run"] = runs[0].run_id
    if not shown:
        return by_id[state["run"]]
    with st.sidebar:
        picked = st.selectbox(
            "Run", list(by_id), format_func=lambda run_id: by_id[run_id].label, key="run", persist_state="session"
        )
    if asked or picked != runs[0].run_id:
        st.query_params["run"] = picked
    state["run_in_address"] = picked
    return by_id[picked]


if __name__ == "__main__":
    main()
