"""Every promise of every regularizer of ours, on TensorFlow."""

from promises import checks_on

globals().update(checks_on("tensorflow"))
