"""Where the SVGs of a command go: beside their images, to one file, to a folder, or to standard output."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.core.errors import SettingsError
from pipeline.core.files import write_text
from pipeline.data.images import PassedOver
from pipeline.vectorizing.batch import MAX_FILE_BYTES, RESULTS, ImageFile, VectorizeResult, failed_result, find_sources

STREAM = Path("-")
"""Standard input as an image, standard output as the place of an SVG."""


@dataclass(frozen=True, slots=True)
class Destination:
    """folder: what the paths of SVGs are relative to. file: the name of the one SVG in it. beside: each SVG lies beside
    its image. stream: the SVG goes to standard output. results: the folder gets results.jsonl.
    """

    folder: Path
    file: str | None = None
    beside: bool = False
    stream: bool = False
    results: bool = False

    def sources(
        self, inputs: Sequence[Path], force: bool, stack: ExitStack, passed_over: PassedOver
    ) -> tuple[list[ImageFile], list[VectorizeResult]]:
        """The images with the places of their SVGs, and a failed result for each that cannot be used.

        Standard input is kept in a temporary file until the stack ends. An SVG that is there already makes its image
        fail unless `force` is set, or the folder's results.jsonl lists it as written. Raises DataError.
        """
        sources: list[ImageFile] = []
        rejected: list[VectorizeResult] = []
        if STREAM in inputs:
            sources = [ImageFile(_standard_input(stack), str(STREAM), Path("stdin.svg"))]
        else:
            sources, rejected = find_sources(inputs, beside=self.beside, passed_over=passed_over)
        if self.file is not None:
            sources = [replace(source, svg=Path(self.file)) for source in sources]
        if self.stream or force:
            return sources, rejected
        own = self._written_before()
        kept = [s for s in sources if (self.folder / s.svg).exists() and s.svg.as_posix() not in own]
        rejected += [
            failed_result(s.path, "exists", f"{self.folder / s.svg} is there already; replace it with --force")
            for s in kept
        ]
        return [source for source in sources if source not in kept], rejected

    def _written_before(self) -> set[str]:
        """The SVGs that results.jsonl lists; what cannot be read in it lists none."""
        written: set[str] = set()
        with suppress(OSError, ValueError, TypeError, KeyError):
            for line in (self.folder / RESULTS).read_text(encoding="utf-8").splitlines() if self.results else []:
                written.add(json.loads(line)["svg"])
        return written

    def write(self, path: Path, svg: str) -> None:
        """Raises StorageError."""
        if not self.stream:
            write_text(path, svg)
            return
        sys.stdout.buffer.write(svg.encode())
        sys.stdout.buffer.flush()


def destination_of(inputs: Sequence[Path], output: Path | None, *, sharded: bool) -> Destination:
    """What `-o` means for these inputs. Raises SettingsError when they do not go together."""
    names_file = output is not None and output.suffix.lower() == ".svg" and not output.is_dir()
    if sharded:
        if output is None or output == STREAM or names_file or STREAM in inputs:
            raise SettingsError("--sharded reads files and folders and writes to a folder; name it with -o DIR")
        return Destination(output)
    if STREAM in inputs and len(inputs) > 1:
        raise SettingsError("IN is - (standard input) and more; give one of them")
    if (output == STREAM or names_file) and (len(inputs) > 1 or inputs[0].is_dir()):
        raise SettingsError(f"-o {output} takes the SVG of one image; give one image, or a folder as -o")
    if output == STREAM or (output is None and STREAM in inputs):
        return Destination(Path(), file=str(STREAM), stream=True)
    if output is None:
        return Destination(Path(), beside=True)
    if names_file:
        return Destination(output.parent, file=output.name)
    return Destination(output, results=True)


def _standard_input(stack: ExitStack) -> Path:
    file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="tracewright-"))  # noqa: SIM115
    while len(piece := sys.stdin.buffer.read(1 << 20)):
        file.write(piece)
        if file.tell() > MAX_FILE_BYTES:
            break  # it is rejected for its size
    file.flush()
    return Path(file.name)
