"""The pages of the dashboard and what they say."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

PAGES = ("overview", "dataset", "training", "results", "images", "models", "resources", "compare", "try-it")
Open = Callable[..., AppTest]


def said(app: AppTest) -> str:
    """All text of a page that a person reads outside of tables and charts."""
    kinds = (app.title, app.header, app.subheader, app.markdown, app.caption, app.info, app.warning, app.text, app.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)
