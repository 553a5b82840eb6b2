"""regkit's regularizers in a PyMC model: `regularize` subtracts their weighted penalties from the logp.

Outputs are the model's deterministics, parameters its free variables, by the names that PyMC gives them. `prior` adds
penalties as normalized priors.
"""

from __future__ import annotations

from importlib import metadata

__all__ = ["prior", "regularize"]
__version__ = "0.3.0"

#: The versions of PyMC that work: from the first to below the second. pyproject.toml has the same.
OLDEST, BELOW = "6.4", "7"


def _check_version() -> None:
    """Raise if the PyMC that is installed is not one that works."""
    works = f"regkit-pymc works with PyMC from {OLDEST} to below {BELOW}"
    try:
        installed = metadata.version("pymc")
    except metadata.PackageNotFoundError:
        raise ImportError(f"{works}, and none is installed: pip install 'pymc>={OLDEST},<{BELOW}'") from None
    numbers = [int(part) for part in installed.split(".")[:2]]
    if not [int(part) for part in OLDEST.split(".")] <= numbers < [int(BELOW)]:
        raise ImportError(f"{works}, and {installed} is installed: pip install 'pymc>={OLDEST},<{BELOW}'")


_check_version()

from ._prior import prior  # noqa: E402 - the version is checked first
from ._regularize import regularize  # noqa: E402
