"""Training: the LightningModule, the stages of a run, its callbacks, and the files that a run writes."""

from crrn.training.budget import Budget
from crrn.training.callbacks import Logging, standard_callbacks
from crrn.training.checkpoints import Checkpoints
from crrn.training.curves import Curves
from crrn.training.ema import averaging
from crrn.training.image_table import ImageTable
from crrn.training.optimizers import Optimizer
from crrn.training.panels import Panels
from crrn.training.pruning import Pruning
from crrn.training.rundir import RunDirectory
from crrn.training.stage_training import StageTraining
from crrn.training.stages import Stage, train_stages
from crrn.training.terminal import ProgressBar, ProgressLines
from crrn.training.trace import Trace

__all__ = [
    "Budget",
    "Checkpoints",
    "Curves",
    "ImageTable",
    "Logging",
    "Optimizer",
    "Panels",
    "ProgressBar",
    "ProgressLines",
    "Pruning",
    "RunDirectory",
    "Stage",
    "StageTraining",
    "Trace",
    "averaging",
    "standard_callbacks",
    "train_stages",
]
