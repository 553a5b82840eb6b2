"""Search for the weights of regkit's regularizers: one compilation, any number of trials, on any number of machines.

Optuna suggests, prunes and stores; Dask runs; regkit's live weights make a trial cost its training alone.
"""

from __future__ import annotations

from .draws import Draws
from .errors import SearchError
from .paths import Path, path
from .results import Found, Result
from .searching import run
from .trials import Trial

__all__ = ["Draws", "Found", "Path", "Result", "SearchError", "Trial", "path", "run"]
__version__ = "0.3.0"
