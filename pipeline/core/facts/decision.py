"""What the promotion gate decided: results/register.json."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pipeline.core.intervals import Interval


def better(gain: float) -> str:
    """A gain in natural log units as people read it: "7.1 % better", "5.1 % worse"."""
    share = math.expm1(-gain)
    if share < -0.99:  # of an objective that counts damage, where the rival damages every image
        return "over 99 % better"
    return f"{abs(share) * 100:.2g} % {'better' if gain >= 0 else 'worse'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionVersion:
    """The registered model that was champion until then."""

    version: str
    run_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """results/register.json. name, version, model_uri: of the registered model that was decided on.

    against: None where there was no champion. gain: paired mean over images, None without a common image. images:
    measured for both; left_out: for one only.
    """

    decision: Literal["promoted", "refused", "first"]
    name: str
    version: str
    alias: str
    run_id: str | None
    model_uri: str
    against: ChampionVersion | None
    gain: Interval | None
    wins: int
    losses: int
    images: int
    left_out: int
    test_digest: str
    reason: str

    @property
    def grounds(self) -> str:
        """The reason without the decision that it may begin with, and without its figures."""
        return self.reason.removeprefix(f"{self.decision}: ").removeprefix("promoted: ").partition("; ")[0].rstrip(".")
