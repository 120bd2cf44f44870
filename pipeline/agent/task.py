"""An image to be worked on, with what is known of it before the first trace that counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.records import Logo, Scored, Scores

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """measures: float32, in the order of MEASURE_NAMES. default: VTracer's command-line default, minified."""

    logo: Logo
    measures: Vector
    default: Scored

    @property
    def scores(self) -> Scores:
        """The default's."""
        return self.default.scores
