"""Search for the weights of regkit's regularizers: one compilation, any number of trials, on any number of machines.

Optuna suggests, prunes and stores; Dask runs; a trial costs its training alone, because weights of regkit are live.
"""

from __future__ import annotations

from ._draws import Draws
from ._path import CVPath, Path, cv_path, path
from ._result import Found, Result
from ._run import Search, run
from ._trial import SearchError, Trial, Trials

__all__ = [
    "CVPath",
    "Draws",
    "Found",
    "Path",
    "Result",
    "Search",
    "SearchError",
    "Trial",
    "Trials",
    "cv_path",
    "path",
    "run",
]
__version__ = "0.3.0"
