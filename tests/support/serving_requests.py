"""Images and bodies as clients send them."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from PIL import Image, ImageDraw

from tests.support.fakes import rgba_of


def png(seed: int = 1, side: int = 32) -> bytes:
    """A coloured rectangle on white, another one for every seed."""
    return saved(Image.fromarray(rgba_of(seed, side)), "PNG")


def busy_png(side: int) -> bytes:
    """Many small shapes: long to trace."""
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    for k in range(0, side - 8, 8):
        for m in range(0, side - 8, 8):
            draw.ellipse((k, m, k + 6, m + 5), fill=(k % 256, m % 256, (k * m) % 256))
    return saved(image, "PNG")


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def row(**values: Any) -> dict[str, Any]:
    return {"image": text(png())} | values


def records(*rows: Any) -> bytes:
    return json.dumps({"dataframe_records": rows}).encode()


GOOD = {
    "records": records(row()),
    "records with all keys": records(row(objective="target", max_damage=2.5, traces=1)),
    "records with a budget": records(row(budget_bytes=900, background="white")),
    "records with nulls": records(
        row(objective=None, max_damage=None, budget_bytes=None, background=None, traces=None)
    ),
    "a whole number with a point": records(row(traces=2.0)),
    "split": json.dumps({"dataframe_split": {"columns": ["traces", "image"], "data": [[1, text(png())]]}}).encode(),
    "inputs by row": json.dumps({"inputs": [row(traces=1)]}).encode(),
    "inputs by column": json.dumps({"inputs": {"image": [text(png())], "traces": [1]}}).encode(),
    "instances": json.dumps({"instances": [row()]}).encode(),
}

BOMB = saved(Image.new("1", (30_000, 30_000)), "PNG")
ANIMATED = saved(Image.new("RGB", (32, 32)), "WEBP", save_all=True, append_images=[Image.new("RGB", (32, 32), "red")])

BAD: dict[str, tuple[bytes, int, str]] = {
    "no bytes": (b"", 400, "the body is not JSON"),
    "half a body": (records(row())[:-5], 400, "the body is not JSON"),
    "no UTF-8": (b"\xff\xfe{", 400, "the body is not JSON"),
    "a list": (b"[1]", 400, "the body is a list; the body must be a JSON object with one of dataframe_records"),
    "a number": (b"5", 400, "the body is 5; "),
    "too deep": (b"[" * 200_000, 400, "nested too deeply"),
    "a number of 5,000 digits": (b'{"inputs": ' + b"9" * 5000 + b"}", 400, "the body is not JSON"),
    "an unknown key": (b'{"images": []}', 400, "the body has images; "),
    "two layouts": (b'{"inputs": [], "instances": []}', 400, "the body has inputs, instances; "),
    "a chat": (b'{"messages": [{"role": "user"}]}', 400, "the body has messages; "),
    "no rows": (records(), 400, "there are no rows"),
    "too many rows": (records(*[row()] * 33), 413, "there are 33 rows, allowed are 32"),
    "rows that are no list": (b'{"dataframe_records": {"image": 1}}', 400, "dataframe_records is an object; "),
    "a row that is no object": (records(2), 400, "row 0: it is 2; "),
    "split without columns": (b'{"dataframe_split": {"data": [[1]]}}', 400, "dataframe_split must have columns"),
    "split with a long row": (
        b'{"dataframe_split": {"columns": ["image"], "data": [[1, 2]]}}',
        400,
        "row 0 is a list; it must be a list of 1",
    ),
    "split with a column twice": (b'{"dataframe_split": {"columns": ["a", "a"], "data": []}}', 400, "columns a, a"),
    "columns of two lengths": (
        b'{"inputs": {"image": ["a"], "traces": [1, 2]}}',
        400,
        "each a list of the same length",
    ),
    "a wrong name": (records({"img": "x"}), 400, "row 0: it has img; allowed are image, objective"),
    "no image": (records({"traces": 1}), 400, "row 0: image is missing"),
    "an image that is null": (records(row(image=None)), 400, "row 0: image is missing"),
    "an image that is a number": (records(row(image=5)), 400, "row 0: image is 5; "),
    "an image that is an object": (records(row(image={"a": 1})), 400, "row 0: image is an object; "),
    "no base64": (records(row(image="!!!!")), 400, "row 0: image is not base64 text"),
    "half a base64": (records(row(image="abc")), 400, "row 0: image is not base64 text"),
    "no ASCII": (records(row(image="\u00e9\ud800")), 400, "row 0: image is not base64 text"),
    "traces of 0": (records(row(traces=0)), 400, "row 0: traces is 0; allowed is a whole number from 1 to 64"),
    "traces of 1.5": (records(row(traces=1.5)), 400, "row 0: traces is 1.5; allowed"),
    "traces that are text": (records(row(traces="2")), 400, 'row 0: traces is "2"; allowed'),
    "traces that are true": (records(row(traces=True)), 400, "row 0: traces is true; allowed"),
    "traces that are a list": (records(row(traces=[1])), 400, "row 0: traces is a list; allowed"),
    "traces that are NaN": (records(row(traces=float("nan"))), 400, "NaN is not a value in JSON"),
    "traces without an end": (b'{"inputs": [{"traces": 1e999, "image": ""}]}', 400, "row 0: traces is Infinity; "),
    "far too many traces": (records(row(traces=10**30)), 400, "row 0: traces is 1000000"),
    "an unknown objective": (
        records(row(objective="prettiest")),
        400,
        'row 0: objective is "prettiest"; allowed is one',
    ),
    "an objective that is a list": (records(row(objective=["smaller"])), 400, "row 0: objective is a list; "),
    "a max_damage of 0": (
        records(row(objective="target", max_damage=0)),
        400,
        "row 0: max_damage is 0; allowed is a number",
    ),
    "a max_damage without its objective": (
        records(row(max_damage=5)),
        400,
        "row 0: max_damage is for the objective target",
    ),
    "a budget of half a byte": (records(row(budget_bytes=0.5)), 400, "row 0: budget_bytes is 0.5; allowed is a whole"),
    "a budget beside a max_damage": (
        records(row(objective="target", max_damage=5, budget_bytes=900)),
        400,
        "row 0: max_damage and budget_bytes: give one of them",
    ),
    "a background that is no colour": (records(row(background="blau")), 400, 'row 0: background is "blau"; allowed'),
    "a background of two bytes": (records(row(background=255)), 400, "row 0: background is 255; allowed"),
    "a bomb": (records(row(image=text(BOMB))), 413, "row 0: image has far more than the 4194304 pixels allowed"),
    "a large image": (
        records(row(image=text(saved(Image.new("1", (3000, 2000)), "PNG")))),
        413,
        "row 0: image has 3000 x 2000 pixels; allowed are 4194304 in all",
    ),
    "a small image": (records(row(image=text(png(side=7)))), 400, "row 0: image has 7 x 7 pixels; each side needs"),
}
"""Body, status, and what the sentence says: refused before anything is decoded or traced."""

BAD_IMAGES: dict[str, tuple[bytes, int, str]] = {
    "an empty image": (records(row(image="")), 400, "row 0: image: empty: "),
    "no image file": (records(row(image=text(b"GIF89a no picture"))), 400, "row 0: image: undecodable: "),
    "half an image": (records(row(image=text(png(side=64)[:90]))), 400, "row 0: image: "),
    "an animated image": (records(row(image=text(ANIMATED))), 400, "row 0: image: animated: it holds 2 pictures"),
    "a blank image": (
        records(row(image=text(saved(Image.new("RGB", (32, 32), "red"), "PNG")))),
        400,
        "row 0: image: blank: ",
    ),
}
"""The same, refused when the image is decoded."""
