"""regkit's regularizers for models of PyTorch: `watch` shows them a model's outputs, `Run` outputs that you tap.

>>> import regkit, regkit_torch, torch
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
>>> with regkit_torch.watch(model, regkit.build(hidden_l1=0.1)) as run:
...     loss = model(torch.ones(2, 4)).sum() + run.loss()
>>> loss.ndim
0

The sets that `regkit.build` makes take tensors without importing this: they find the engine of a tensor themselves.
"""

from . import engine  # noqa: F401  # expressions name it as their engine once it is imported
from ._names import names
from ._run import Run
from ._watch import watch

__all__ = ["Run", "names", "watch"]
__version__ = "0.3.0"
