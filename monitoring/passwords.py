"""`make env`: random passwords for docker-compose.yml in `.env`. What stands there already is never changed."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ENV = Path(".env")

HEADING = "# Passwords of docker-compose.yml, made by `make env`. Keep it to yourself: git ignores it.\n"


def _random() -> str:
    """192 bits, in letters that stand in an address or a shell as they are."""
    return secrets.token_hex(24)


VALUES: dict[str, Callable[[], str]] = {
    "POSTGRES_PASSWORD": _random,
    "S3_ACCESS_KEY": lambda: secrets.token_hex(10),
    "S3_SECRET_KEY": _random,
    "GRAFANA_PASSWORD": _random,
    "TRACEWRIGHT_UID": lambda: str(Path().stat().st_uid),
    "TRACEWRIGHT_GID": lambda: str(Path().stat().st_gid),
}
"""Every variable that docker-compose.yml needs. Our containers run as the owner of the project's folder."""


def missing(text: str) -> Iterator[str]:
    """The lines that `.env` still lacks."""
    there = {line.partition("=")[0].strip() for line in text.splitlines()}
    return (f"{name}={value()}" for name, value in VALUES.items() if name not in there)


def write(path: Path) -> list[str]:
    """Adds what is missing; returns the names. The file is whole or as before, and its owner's alone."""
    text = path.read_text(encoding="utf-8") if path.exists() else HEADING
    lines = list(missing(text))
    if lines:
        temporary = path.with_name(f"{path.name}.new")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        temporary.write_text(f"{text.rstrip()}\n" + "\n".join(lines) + "\n", encoding="utf-8")
        temporary.replace(path)
    return [line.partition("=")[0] for line in lines]


def main() -> int:
    try:
        names = write(ENV)
    except OSError as error:
        print(f"env: {ENV} cannot be written ({error.strerror}); choose a folder you own", file=sys.stderr)
        return 74
    if Path().stat().st_uid == 0:
        print("env: the folder belongs to root, and so will our containers run; better give it to a user of your own")
    print(f"env: wrote {', '.join(names)} to {ENV}" if names else f"env: {ENV} has all it needs and stays as it is")
    return 0


if __name__ == "__main__":
    sys.exit(main())
