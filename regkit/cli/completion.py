"""What the shell completes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import available

if TYPE_CHECKING:
    import click


def completed(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the aliases that begin with what is typed; no plugin is imported for that."""
    return [alias for alias in available() if alias.startswith(incomplete) and alias.isprintable()]
