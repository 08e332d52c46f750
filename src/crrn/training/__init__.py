"""Training: the two LightningModules, the stages of a run, and all that is written down on the way."""

from crrn.training.modules import GinPretraining, JointTraining
from crrn.training.pruning import Pruning
from crrn.training.rundir import RunDirectory
from crrn.training.stages import Stage, Watching, train_stages

__all__ = ["GinPretraining", "JointTraining", "Pruning", "RunDirectory", "Stage", "Watching", "train_stages"]
