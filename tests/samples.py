"""Regularizers, and a finder of modules, that several tests use."""

from __future__ import annotations

from types import SimpleNamespace

import regkit


class Scale(regkit.Regularizer):
    """Doubles the outputs that match, so that values can be worked out by hand."""

    def modify_graph(self, outputs):
        for name, output in regkit.select_outputs(outputs, self.pattern):
            outputs[name + "-unscaled"] = output
            outputs[name] = output * 2


class Share(regkit.Regularizer):
    """A regularizer whose weight is a share of something."""

    weight_below = 1

    def loss(self, outputs):
        return 1.0


def finder(find_distributions):
    """Return a finder for `sys.meta_path` that finds distributions, and no modules."""
    return SimpleNamespace(find_spec=lambda *_: None, find_distributions=find_distributions)
