"""A schedule of one's own: from the optimizer and the stage's length to one of torch's schedulers."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def linear(optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, end: float = 0.1) -> LambdaLR:
    """Falls linearly to the share `end` of the stage's rate; stepped once per optimizer step."""
    steps = steps_per_epoch * epochs
    return LambdaLR(optimizer, lambda step: 1 - (1 - end) * step / steps)
