"""What the report adds to its run in MLflow: the verdict, the page, the picture sheets and a few SVGs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.core.files import write_bytes
from pipeline.reports import archive
from pipeline.reports.document import IMPROVED, SAMPLE, WORST
from pipeline.reports.run_report import RunReport
from pipeline.tracking.run import Run

PAIRS = 4  # images of the random sample whose SVGs are kept


def log_evidence(root: Path, run: Run, report: RunReport) -> None:
    """Logs what reports/ and results/evaluate hold of a run, and describes the run. Raises StorageError."""
    for name in (archive.PAGE, SAMPLE, IMPROVED, WORST):
        if (path := root / "reports" / name).is_file():
            run.log_artifact(path, "report")
    with tempfile.TemporaryDirectory(prefix="tracewright-") as folder:
        for image in report.sample[:PAIRS]:
            for label, made in (("default", archive.DEFAULT_SVGS), ("tracewright", archive.OURS_SVGS)):
                source, target = root / made / f"{image.digest}.svg", Path(folder, f"{label}.svg")
                if source.is_file():
                    write_bytes(target, source.read_bytes())
                    run.log_artifact(target, f"svg/{Path(image.path).stem}-{image.digest[:6]}")
    run.set_tags({"mlflow.note.content": description(report)})


def description(report: RunReport) -> str:
    """What the run's page in MLflow says: the verdict, the gate's decision, where the evidence is, how to use it."""
    decision = report.registry
    lines = [report.headline]
    if decision is not None:
        lines += [f"Version {decision.version} of {decision.name} ({decision.alias}): {decision.grounds}."]
    lines += ["The artifacts hold the report (`report/report.html`), pictures, SVG pairs and `params.yaml`."]
    if decision is not None:
        lines += [f"    tracewright vectorize logos -o svg --model {decision.model_uri}"]
    return "\n\n".join(lines) + "\n"
