"""The report as one HTML file with its pictures in it: the Markdown, rendered; nothing in it can run or be fetched.

Raw HTML in the Markdown is shown as text, pictures are those handed in, and the page forbids itself everything else.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from pipeline.reports.colours import DARK, LIGHT, Palette

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_RULES = """
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
h1 { font-size: 1.7rem; line-height: 1.25 } h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem } h3 { font-size: 1.05rem }
figure { margin: 1rem 0; overflow-x: auto } img { max-width: 100%; height: auto; border-radius: 4px; background: #fff }
.table { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--faint); text-align: left; vertical-align: top }
th { color: var(--muted); font-weight: 600 } td strong { color: var(--strong) }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .9em; overflow-wrap: anywhere }
pre { overflow-x: auto; padding: .8rem 1rem; background: var(--faint); border-radius: 4px }
"""


def as_html(markdown: str, title: str, pictures: Mapping[str, bytes]) -> str:
    """markdown: of `document.as_markdown`. pictures: PNGs by the names that it links; others are left out."""
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    body = parser.render(markdown, {"pictures": pictures})
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_style()}</style>\n</head>\n<body>\n<main>\n{body}</main>\n"
        "</body>\n</html>\n"
    )


class _Renderer(RendererHTML):
    """markdown-it's own, with pictures as data, and tables that scroll by themselves on a narrow screen."""

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        token = tokens[idx]
        picture = env["pictures"].get(str(token.attrs["src"]))
        if picture is None:
            return ""
        shows = html.escape(self.renderInlineAsText(token.children, options, env))
        return f'<img alt="{shows}" src="data:image/png;base64,{base64.b64encode(picture).decode("ascii")}">'

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        return '<div class="table" tabindex="0" role="region" aria-label="Table"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        return "</table></div>\n"


def _style() -> str:
    return (
        f":root {{{_variables(LIGHT)}}}\n@media (prefers-color-scheme: dark) {{:root {{{_variables(DARK)}}}}}{_RULES}"
    )


def _variables(palette: Palette) -> str:
    names = ("paper", "ink", "muted", "faint", "strong")
    return "color-scheme: light dark; " + "; ".join(f"--{name}: {getattr(palette, name)}" for name in names)
