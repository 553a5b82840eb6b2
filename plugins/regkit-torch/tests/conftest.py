"""Tests with frameworks are collected where these are installed, which is a lane of its own."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("lightning") else ["frameworks"]
