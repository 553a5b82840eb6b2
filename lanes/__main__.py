"""Print the lanes with their Pythons as JSON, for the matrix of .github/workflows/ci.yml: ``python -m lanes``."""

from __future__ import annotations

import json

from . import LANES

print(json.dumps([{"name": lane.name, "python": lane.python} for lane in LANES]))
