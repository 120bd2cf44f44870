"""Which agent vectorises: --model, the project's champion, or the one shipped with the package."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.agent.agent import DESCRIPTION, TRAINED
from pipeline.core.errors import Mismatch, SettingsError, Unavailable
from pipeline.core.files import project_root, required_root, write_json

SHIPPED = Path(__file__).parent / "shipped"
CARD = "card.json"

_DATA = "Icons of the Python package diagrams, the training split of the samples that `make repro` takes from it."
_LICENCE = (
    "MIT, as tracewright. The icons are published under the MIT licence, Copyright (c) 2020 MinJae Kwon; they show "
    "marks that belong to their owners. The agent holds weights and settings of VTracer, and no picture."
)


@dataclass(frozen=True, slots=True)
class FoundAgent:
    """folder: of its files. name: what it is, for people."""

    folder: Path
    name: str


def find_agent(model: str | None) -> FoundAgent:
    """The agent that `model` names, a folder or a registered model; else the champion of the project that the current
    folder is in; else the shipped one.

    MLflow is imported only for a registered model that is not kept on this machine. Raises Unavailable, DataError.
    """
    if model is not None and Path(model).is_dir():
        return FoundAgent(Path(model), f"the agent in {model}")
    if model is not None:
        from pipeline.tracking.models import download

        name = model.removeprefix("models:/")
        source = f"models:/{name}" if name != model or "@" in name or "/" in name else f"models:/{name}@champion"
        return FoundAgent(download(source, required_root()), source)
    root = project_root()
    if root is not None and (champion := _champion(root)):
        return FoundAgent(champion, f"the champion of {root}")
    if not (SHIPPED / DESCRIPTION).is_file():
        raise Unavailable("this copy of tracewright has no agent; name an agent's folder with --model PATH")
    return FoundAgent(SHIPPED, "the agent shipped with tracewright")


def _champion(root: Path) -> Path | None:
    from pipeline.tracking.mlflow_store import has_runs

    if not has_runs(root):
        return None
    from pipeline.settings.params import load_settings
    from pipeline.tracking.models import champion

    return champion(root, load_settings(root / "params.yaml").experiment)


def ship(root: Path, folder: Path = SHIPPED) -> Path:
    """Copy the project's champion to `folder`, with a card that says what it is and how good; returns the folder.

    Raises SettingsError when it was trained on other images than the samples, Unavailable without a champion, Mismatch
    when results/ are of another agent.
    """
    from pipeline.core.facts.comparison import DEFAULT, OURS, Comparison
    from pipeline.core.facts.training import TrainReport
    from pipeline.core.json_records import read_record, to_json
    from pipeline.settings.params import load_settings
    from pipeline.tracking.models import AGENT_FILES, file_digests

    settings = load_settings(root / "params.yaml")
    if settings.data.root != "data/samples":
        raise SettingsError(f"data.root is {settings.data.root}; an agent to be shipped is trained on data/samples")
    champion = _champion(root)
    if champion is None:
        raise Unavailable("the project has no champion; run `make repro`")
    train = read_record(TrainReport, root / "results/train/train.json", "make repro")
    comparison = read_record(Comparison, root / "results/evaluate/evaluate.json", "make repro")
    digests = file_digests(champion)
    if digests != file_digests(root / TRAINED) or comparison.run_id != train.run_id:
        raise Mismatch("results/ are not those of the champion; run `make repro` until the agent it trains is champion")
    traces = comparison.headline_traces

    def reached(name: str) -> Any:
        method = comparison.method(name)
        return to_json(method.point_at(traces)) if method else None

    card = {
        **digests,
        "data": _DATA,
        "licence": _LICENCE,
        "images": {"train": train.dataset.train.images, "val": train.dataset.val.images, "test": comparison.images},
        "test_digest": comparison.test_digest,
        "commit": train.git_commit,
        "uncommitted_changes": train.git_dirty,
        "trained": train.started,
        "run_id": train.run_id,
        "seed": train.seed,
        "objective": asdict(comparison.objective),
        "results": {"agent": reached(OURS), "vtracer_default": reached(DEFAULT)},
    }
    for name in AGENT_FILES:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(champion / name, folder / name)
    write_json(folder / CARD, card)
    return folder
