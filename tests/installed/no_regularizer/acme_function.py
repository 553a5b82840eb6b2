"""A plugin whose entry points name what is not a regularizer."""


def penalty(z):
    """Return the L1 norm."""
    return abs(z).sum()


class Plain:
    """A class without hooks."""
