"""`python -m pipeline.reports.schema_file` rewrites report.schema.json after a change of what a report holds."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.files import write_text
from pipeline.reports.run_report import schema_text

SCHEMA = Path(__file__).parent / "report.schema.json"

if __name__ == "__main__":
    write_text(SCHEMA, schema_text())
