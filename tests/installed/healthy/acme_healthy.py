"""A plugin in good order."""

import regkit


class Healthy(regkit.Regularizer):
    """The sum of one output."""

    def loss(self, outputs):
        """Return the sum of the one output that matches."""
        ((_, output),) = regkit.select_outputs(outputs, self.pattern or "*")
        return output.sum()
