"""Values as TOML has them: what `regkit.build` takes, in a form that a file can hold."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def as_toml(config: Mapping[str, Any]) -> str:
    """Return a mapping as lines of TOML, one for each key, with tables in braces.

    Examples
    --------
    >>> print(as_toml({"hidden_l1": {"weight": 1e-05, "pattern": ["hid1", "hid2"]}, "weight_l2": 0.1}))
    hidden_l1 = { weight = 1e-05, pattern = ["hid1", "hid2"] }
    weight_l2 = 0.1
    """
    return "\n".join(f"{_key(key)} = {_value(value)}" for key, value in config.items())


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_value(one)}' for key, one in value.items())} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):  # whose strings are JSON's, but for this one sign
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)  # true, false and finite numbers are the same in both
