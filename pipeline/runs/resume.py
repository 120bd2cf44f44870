"""Which training can be resumed: only the same data, settings, code and versions give the same bits."""

from __future__ import annotations

import logging
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path

from pipeline.core.errors import DataError, Mismatch
from pipeline.core.facts.data import SplitSummary
from pipeline.core.files import read_json, write_json
from pipeline.core.locks import free
from pipeline.settings.params import Settings
from pipeline.tracking import lineage
from pipeline.training.checkpoint import SUFFIX
from pipeline.training.checkpoint_store import FOLDER, latest_in

TRAINING = "training.json"

SECTIONS = ("compute", "curriculum", "data", "evaluate", "objective", "tracing", "train", "validation")
WITHOUT_EFFECT = frozenset(
    {
        "compute.backend",
        "compute.memory_limit_bytes",
        "compute.store_bytes",
        "compute.workers",
        "data.root",
        "data.sample_images",
        "data.sample_seed",
        "evaluate.seed",
        "evaluate.tpe_startup_trials",
        "evaluate.traces",
        "train.n_seeds",
        "train.seed",
    }
)
"""Settings in `SECTIONS` that a training's bits do not depend on, or that its own seed and its images stand for."""

_log = logging.getLogger(__name__)

_LIBRARIES = ("gymnasium", "numpy", "safetensors", "scipy", "stable-baselines3", "torch")

Fingerprint = Mapping[str, str]
"""All that decides a training's bits, flat: dotted name -> value."""


@dataclass(frozen=True, slots=True)
class TrainingOrigin:
    """What a run's training was begun with. delivered: whether its result stands in the project; then it is never
    resumed. forked_from: `RUN/CHECKPOINT` for one that starts from another's state.
    """

    fingerprint: Fingerprint
    delivered: bool = False
    forked_from: str | None = None

    def write(self, run_folder: Path) -> None:
        write_json(run_folder / TRAINING, asdict(self))


def read_lineage(run_folder: Path) -> TrainingOrigin:
    """Raises DataError when the run is none of a training, or the file cannot be read."""
    path = run_folder / TRAINING
    try:
        values = read_json(path, "make repro")
        return TrainingOrigin(dict(values["fingerprint"]), bool(values["delivered"]), values["forked_from"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: does not describe a training ({error}); delete {run_folder}") from error


def conditions_of(settings: Settings, split: SplitSummary) -> dict[str, str]:
    """The settings and images that the bits of a training with any seed depend on."""
    values = {
        key: value
        for key, value in lineage.flatten(settings).items()
        if key.partition(".")[0] in SECTIONS and key not in WITHOUT_EFFECT
    }
    return values | {"images.train": split.train.digest, "images.val": split.val.digest}


def fingerprint_of(
    root: Path, settings: Settings, split: SplitSummary, evaluation_versions: Mapping[str, str], seed: int
) -> dict[str, str]:
    values = conditions_of(settings, split) | {"seed": str(seed)}
    values |= {f"code.{path}": digest for path, digest in lineage.code_inputs(root, "train").items()}
    return values | {f"version.{name}": version for name, version in _versions(evaluation_versions)}


def _versions(evaluation_versions: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    import torch

    yield "python", platform.python_version()
    # Which instructions the processor has decides in which order sums are taken.
    yield "processor", f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    for name in _LIBRARIES:
        yield name, metadata.version(name)
    yield from evaluation_versions.items()


def differences(then: Fingerprint, now: Fingerprint) -> list[str]:
    """One line for each thing that changed, in the order of their names."""
    changed = [name for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name)]
    return [f"{name}: {then.get(name, 'absent')} -> {now.get(name, 'absent')}" for name in changed]


def find(runs: Path, now: Fingerprint, checkpoint: Path | None, *, fork: bool) -> Path | None:
    """The folder of the run that a training can resume: None for a new one.

    checkpoint: of the wanted run; None for the newest unfinished one. An unfinished run with other settings is named in
    a warning, and a new one begins. Raises Mismatch when the wanted run cannot be resumed.
    """
    if fork:
        return None
    if checkpoint is not None:
        return require_same_conditions(
            checkpoint.resolve().parent.parent, now, "begin a new run from its state with --fork"
        )
    left = list(undelivered(runs))
    for folder, found in left:
        if found.fingerprint == now and found.forked_from is None and _is_free(folder):
            return folder
    same_seed = [
        (folder, found) for folder, found in left if found.fingerprint.get("seed") == now["seed"] and _is_free(folder)
    ]
    if same_seed:
        folder, found = same_seed[0]
        _log.warning(
            "run %s was left unfinished under other conditions, so a new one begins (%s); "
            "`tracewright checkpoints resume %s --fork` goes on from its state all the same",
            folder.name,
            "; ".join(differences(found.fingerprint, now)),
            folder.name,
        )
    return None


def _is_free(folder: Path) -> bool:
    """Whether no process is training there."""
    with free(folder) as is_free:
        return is_free


def require_same_conditions(folder: Path, now: Fingerprint, otherwise: str) -> Path:
    """The folder of a run that is to go on under the conditions of now. otherwise: what to do where it cannot.

    Raises Mismatch, with what changed, when it would not come to the same bits, or is finished.
    """
    found = read_lineage(folder)
    changed = differences(found.fingerprint, now)
    if changed:
        raise Mismatch(
            f"run {folder.name} cannot go on to the same bits, because these changed:\n  "
            + "\n  ".join(changed)
            + f"\ngive them back their values, or {otherwise}"
        )
    if found.delivered:
        raise Mismatch(f"run {folder.name} is finished; {otherwise}")
    return folder


def place_of(checkpoint: Path) -> str:
    """`RUN/CHECKPOINT`, as `checkpoint_path` takes it; the file's name for one that lies elsewhere."""
    folder = checkpoint.resolve().parent
    return f"{folder.parent.name}/{checkpoint.name}" if folder.name == FOLDER else checkpoint.name


def run_folder(runs: Path, run_id: str) -> Path:
    """Raises DataError when there is no such run of a training."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", run_id) or not (runs / run_id / TRAINING).is_file():
        raise DataError(f"there is no training run {run_id!r}; `tracewright checkpoints list` shows those there are")
    return runs / run_id


def checkpoint_path(runs: Path, name: str) -> Path:
    """The file that RUN (its latest sound one), RUN/CHECKPOINT or a path means. Raises DataError when there is none."""
    if name.endswith(SUFFIX) and _is_file(Path(name)):
        return Path(name)
    run_id, _, file = name.partition("/")
    folder = run_folder(runs, run_id) / FOLDER
    if not file:
        latest = latest_in(folder)
        if latest is None:
            raise DataError(f"run {run_id} has no sound checkpoint; `make repro` trains again")
        return latest[0]
    if "/" in file or not _is_file(folder / file):
        raise DataError(f"run {run_id} has no checkpoint {file!r}; `tracewright checkpoints list {run_id}` shows them")
    return folder / file


def _is_file(path: Path) -> bool:
    """False for what cannot be a file's name, too."""
    try:
        return path.is_file()
    except OSError:
        return False


def deliver(run_folder: Path) -> None:
    """The run's result stands in the project."""
    replace(read_lineage(run_folder), delivered=True).write(run_folder)


def undelivered(runs: Path) -> Iterator[tuple[Path, TrainingOrigin]]:
    """Folders of trainings that were left or never handed on, newest first."""
    for path in sorted(runs.glob(f"*/{TRAINING}"), reverse=True):
        try:
            found = read_lineage(path.parent)
        except DataError:
            continue  # cannot be resumed; `tracewright doctor` names it
        if not found.delivered:
            yield path.parent, found
