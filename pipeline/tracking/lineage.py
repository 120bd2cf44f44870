"""The origin of a run: commit, user, DVC inputs, versions, seeds, data sets. Works without git and without DVC."""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import SettingsError
from pipeline.core.facts.data import SplitSummary
from pipeline.core.mappings import flatten as flatten_mapping
from pipeline.core.records import SPLITS
from pipeline.settings.params import Settings, parse_settings

SPLITS_TABLE = "data/splits.parquet"
NAMED_CHANGES = 4  # in the name of a run

_UNNAMED = (
    "checkpoints.",
    "compute.",
    "experiment",
    "monitoring.",
    "register.",
    "train.n_seeds",
    "train.seed",
    "tune.",
)

DISTRIBUTIONS = (
    "tracewright",
    "vtracer",
    "numpy",
    "skia-python",
    "opencv-python-headless",
    "pillow",
    "torch",
    "stable-baselines3",
    "gymnasium",
    "mlflow",
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A set of images that a run used, as MLflow shows it.

    context: train, val or test. digest: any hex digest; MLflow keeps its first 36 characters. source: the file that
    lists the images, relative to the project.
    """

    name: str
    context: str
    digest: str
    images: int
    source: str

    @property
    def short_digest(self) -> str:
        return self.digest[:36]


def tags_of(root: Path, stage: str | None) -> dict[str, str]:
    """Tags that tell the origin of a run. Facts that cannot be determined are left out."""
    # Set by `dvc exp run`.
    variables = {"DVC_EXP_NAME": "dvc.exp_name", "DVC_EXP_BASELINE_REV": "dvc.exp_baseline_rev"}
    tags = {tag: os.environ[name] for name, tag in variables.items() if os.environ.get(name)}
    tags |= git_tags(root) | {"mlflow.source.type": "LOCAL"}
    if stage is not None:
        tags["mlflow.source.name"] = f"pipeline.stages.{stage}"
    with suppress(OSError, KeyError):  # a user id without a name, as in a container
        tags["mlflow.user"] = getpass.getuser()
    return tags


def origin(root: Path, stage: str | None, seeds: Mapping[str, int]) -> dict[str, Any]:
    """The details of a run's origin, as lineage.json holds them: stage, seeds, versions, digests of DVC dependencies.

    stage: the DVC stage whose dependencies are hashed; None for a run outside the pipeline.
    """
    dependencies = dvc_inputs(root, stage) if stage is not None else {}
    return {"stage": stage, "seeds": dict(seeds), "versions": version_tags(), "dependencies": dependencies}


def run_name(root: Path, settings: Settings, seed: int) -> str:
    """What sets a run apart: the settings that differ from the committed params.yaml, and the seed.

    At most four settings are named. Settings that no result depends on are left out.
    """
    now = flatten_mapping(settings.to_json())
    try:
        base = parse_settings(yaml.safe_load(_git(root, "show", "HEAD:./params.yaml") or ""), "HEAD").to_json()
    except (SettingsError, yaml.YAMLError):  # no git, no commit, or one of another release
        base = now
    base = flatten_mapping(base)
    changed = {k: v for k, v in now.items() if base.get(k) != v and not k.startswith(_UNNAMED)}
    named = [f"{key}={json.dumps(value).strip(chr(34))}" for key, value in changed.items()]
    more = [f"{len(named) - NAMED_CHANGES} more"] if len(named) > NAMED_CHANGES else []
    return ", ".join([*named[:NAMED_CHANGES], *more, f"seed {seed}"])[:250]


def datasets_of(summary: SplitSummary) -> list[Dataset]:
    """The data sets of a split, one for each of its parts."""
    contents = [(split, summary.content(split)) for split in SPLITS]
    return [
        Dataset(name=split, context=split, digest=content.digest, images=content.images, source=SPLITS_TABLE)
        for split, content in contents
    ]


def flatten(settings: Settings) -> dict[str, str]:
    """params.yaml as dotted keys; lists as JSON."""
    return {
        name: json.dumps(value) if isinstance(value, list | bool | None) else str(value)
        for name, value in flatten_mapping(settings.to_json()).items()
    }


def version_tags() -> dict[str, str]:
    """Python, platform, and the installed versions of the packages that decide a result."""
    tags = {"version.python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for name in DISTRIBUTIONS:
        try:
            tags[f"version.{name}"] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return tags


def git_tags(root: Path) -> dict[str, str]:
    """Commit, branch and whether files differ from it; empty without git, a repository or a commit.

    What the pipeline writes itself does not count as a difference: dvc.lock and the outputs of its stages.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {}
    tags = {"mlflow.source.git.commit": commit}
    branch = _git(root, "rev-parse", "--abbrev-ref", "HEAD")
    if branch and branch != "HEAD":
        tags["mlflow.source.git.branch"] = branch
    written = [f":(exclude){path}" for path in ["dvc.lock", *_outputs(root)]]
    changes = _git(root, "status", "--porcelain", "--untracked-files=all", "--", ".", *written)
    return tags if changes is None else tags | {"git.dirty": "true" if changes else "false"}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def dvc_inputs(root: Path, stage: str) -> dict[str, str]:
    """Dependencies of a stage in dvc.yaml -> their current digest, computed as DVC does; missing ones are left out.

    dvc.lock cannot tell: DVC writes a stage's entry only after the stage has ended.
    """
    return {path: digest_of(root / path) for path in _dependencies(root, stage)}


def code_inputs(root: Path, stage: str) -> dict[str, str]:
    """The dependencies of a stage that are our own code, as `dvc_inputs` gives them."""
    return {path: digest_of(root / path) for path in _dependencies(root, stage) if path.startswith("pipeline/")}


def _dependencies(root: Path, stage: str) -> list[str]:
    """The existing paths among a stage's dependencies in dvc.yaml."""
    pipeline = _yaml(root / "dvc.yaml")
    params = _yaml(root / "params.yaml")
    definition = (pipeline.get("stages") or {}).get(stage.partition("@")[0]) or {}
    dependencies = definition.get("deps") or definition.get("do", {}).get("deps") or []
    paths = [_filled(next(iter(d)) if isinstance(d, dict) else str(d), params) for d in dependencies]
    return [path for path in paths if "${" not in path and (root / path).exists()]


def _outputs(root: Path) -> list[str]:
    """The paths that the stages of dvc.yaml write."""
    stages = [s for s in (_yaml(root / "dvc.yaml").get("stages") or {}).values() if isinstance(s, dict)]
    entries = [entry for s in stages for kind in ("outs", "metrics", "plots") for entry in s.get(kind) or []]
    return [next(iter(e)) if isinstance(e, dict) else str(e) for e in entries]


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        _log.warning("%s cannot be read (%s); the run records no DVC inputs", path, error)
        return {}
    return content if isinstance(content, dict) else {}


def _filled(text: str, params: Mapping[str, Any]) -> str:
    """`${a.b}` replaced from params.yaml; unknown keys stay as they are."""

    def value(match: re.Match[str]) -> str:
        found: Any = params
        for key in match[1].strip().split("."):
            found = found.get(key) if isinstance(found, dict) else None
        return match[0] if found is None else str(found)

    return re.sub(r"\$\{([^}]*)\}", value, text)


def digest_of(path: Path) -> str:
    """DVC's digest of a file (MD5) or a folder (MD5 of the sorted JSON list of its files, with `.dir`).

    Byte code is skipped, as the project's .dvcignore has it.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    files = sorted(
        (p.relative_to(path).as_posix(), p)
        for p in path.rglob("*")
        if p.is_file() and "__pycache__" not in p.relative_to(path).parts and p.suffix != ".pyc"
    )
    listing = [{"md5": digest_of(p), "relpath": name} for name, p in files]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
