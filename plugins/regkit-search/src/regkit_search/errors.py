"""What a search raises beside the errors of regkit that it shares."""

from __future__ import annotations

import regkit


class SearchError(regkit.RegkitError, RuntimeError):
    """A search cannot go on, or has no such result."""
