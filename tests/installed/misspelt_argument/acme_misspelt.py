"""A plugin that misspells an argument of its hook."""

import regkit


class Misspelt(regkit.Regularizer):
    """Takes ``ouputs``."""

    def loss(self, layers, ouputs):
        """Return nothing."""
