"""Imported before NumPy by programs that propose settings: numeric libraries on one thread, unless the user says more.

Matrices as small as the agent's are slower on several threads, which would take the cores of the tracing processes.
"""

from __future__ import annotations

import os

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

for _name in VARIABLES:
    os.environ.setdefault(_name, "1")
