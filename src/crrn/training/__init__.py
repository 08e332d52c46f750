"""Training: the LightningModule, the stages of a run, and all that is written down on the way."""

from crrn.training.modules import StageTraining
from crrn.training.optimizers import Optimizer
from crrn.training.pruning import Pruning
from crrn.training.rundir import RunDirectory
from crrn.training.stages import Stage, Watching, train_stages

__all__ = ["Optimizer", "Pruning", "RunDirectory", "Stage", "StageTraining", "Watching", "train_stages"]
