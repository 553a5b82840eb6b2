"""regkit's regularizers for TensorFlow: `watch` shows the outputs of a `tf.Module` to them, `Run` those that one taps.

>>> import regkit, regkit_tensorflow, tensorflow as tf
>>> run = regkit_tensorflow.Run(regkit.build(hidden_l1=dict(weight=0.5, pattern="hid")))
>>> h = run.tap("hid", tf.constant([[1.0, -2.0]]))
>>> float(run.loss())
1.5

`regkit.build` and the sets it makes need no import of this: they find the engine of a tensor by themselves.
"""

from ._run import Run, after_step
from ._watch import watch

__all__ = ["Run", "after_step", "watch"]
__version__ = "0.3.0"
