"""The promises of a regularizer, each a function that raises if it is broken.

Importing this package fills `regkit.testing.running.CHECKS`, in the order of the imports below.
"""

# isort: off
from . import of_classes as of_classes
from . import of_penalties as of_penalties
from . import of_changes as of_changes

__all__ = ["of_changes", "of_classes", "of_penalties"]
