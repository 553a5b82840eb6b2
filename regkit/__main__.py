"""The command ``regkit``, which needs the extra ``cli``: click and rich are imported here and nowhere else."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say in one line what is missing."""
    try:
        import click  # noqa: F401 - its absence is what matters
        import rich  # noqa: F401
    except ImportError as error:
        sys.exit(f"regkit: the command line needs {error.name}. Install it with: pip install 'regkit-core[cli]'")
    from .cli import regkit

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # docstrings have signs that not every terminal has
    regkit()


if __name__ == "__main__":
    main()
