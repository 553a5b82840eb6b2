"""The programs of docs/search.md, run on the library of the lane; of the search a few trials, since each is stored."""

from __future__ import annotations

import re
from pathlib import Path

import dask
import numpy as np

import blocks


def test_the_programs_of_the_page_run(lib, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, *others = blocks.programs("docs/search.md")
    scope: dict = {"__name__": "page"}
    program = re.sub(r"\bpytensor\b", lib.name, first.text)
    assert "trials=40" in program
    monkeypatch.setattr(lib.module.config, "mode", "FAST_COMPILE")
    with lib.float_type("float64"):
        exec(program.replace("trials=40", "trials=6"), scope)
    with dask.config.set({"distributed.nanny.pre-spawn-environ": {}}):
        for block in others:
            exec(block.text, scope)
        assert dask.config.get("distributed.nanny.pre-spawn-environ")["OMP_NUM_THREADS"] == 1
    frame = scope["result"].frame()
    assert set(frame["state"]) == {"complete"}
    assert len(frame) == 6
    # the stronger the penalty, the more activations are near zero
    assert np.corrcoef(np.log(frame["hidden_sparsity.weight"]), frame["near_zero"])[0, 1] > 0.5
    assert len(scope["result"].plot().axes) == 2
    assert Path("study.db").exists()
    blocks.ran([first, *others])
