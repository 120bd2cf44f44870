"""data.root in params.yaml: setting and checking it."""

from __future__ import annotations

import io
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.core.errors import DataError
from pipeline.core.files import write_text
from pipeline.data.images import KINDS, list_images
from pipeline.settings.params import DataSettings

SAMPLES = "data/samples"


def set_data_root(root: Path, folder: Path) -> str:
    """Sets data.root of root/params.yaml to `folder`, keeping comments; returns a sentence for the user.

    The path is relative for a folder inside the project, absolute otherwise. Raises DataError when it is no folder, or
    one that DVC would refuse: a stage may not depend on a folder that holds its own results.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give a folder of logos")
    resolved = folder.resolve()
    if (inside := _out_in(root, resolved)) is not None:
        raise DataError(f"{folder}: holds {inside}, which the pipeline writes; give a folder of logos alone")
    value = str(resolved.relative_to(root.resolve())) if resolved.is_relative_to(root.resolve()) else str(resolved)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    path = root / "params.yaml"
    params = yaml.load(path.read_text(encoding="utf-8"))
    if params["data"]["root"] == value:
        return f"params.yaml: data.root is {value} already"
    params["data"]["root"] = value
    text = io.StringIO()
    yaml.dump(params, text)
    write_text(path, text.getvalue())
    return f"params.yaml: data.root is now {value}"


def _out_in(root: Path, folder: Path) -> str | None:
    """The first result in dvc.yaml that lies in `folder`, or of which `folder` is a part; None if there is none."""
    stages = YAML(typ="safe").load(root / "dvc.yaml")["stages"].values()
    entries = [entry for stage in stages for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    for out in (entry if isinstance(entry, str) else next(iter(entry)) for entry in entries):
        path = root.resolve() / out
        if (path.is_relative_to(folder) and out != SAMPLES) or (folder.is_relative_to(path) and folder != path):
            return out
    return None


def check_data_root(root: Path, settings: DataSettings) -> None:
    """Raises DataError when data.root is no folder or has no image by name; that of the samples stage is exempt."""
    if settings.root == SAMPLES:
        return
    folder = root / settings.root
    remedy = "set data.root in params.yaml, or run `make repro DATA=folder`"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of logos; {remedy}")
    found, _ = list_images(folder)
    if not found:
        raise DataError(f"{folder}: no images found ({KINDS}); add some, or {remedy}")
