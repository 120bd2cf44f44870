"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(each: str) -> Callable[[F], F]:
    """`--json` as `as_json`. each: what a line of JSON stands for."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print a line of JSON per {each}.")
