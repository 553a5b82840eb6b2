"""A plugin that claims an alias of another distribution."""

import regkit


class L1(regkit.Regularizer):
    """A constant."""

    def loss(self):
        """Return 1."""
        return 1.0
