"""Ends trials of an Optuna study early that lag behind the others."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback

from crrn.errors import ConfigError, Pruned
from crrn.training.early_stopping import is_last
from crrn.training.stage_training import StageTraining


class Pruning(Callback):
    """Reports the monitored metric after each validation of the run's last stage, and stops bad runs.

    A run is stopped if its best value so far is below the median of the study's complete trials at that epoch.

    Args:
        study: the study's name.
        storage: its Optuna URL.
        trial: the trial's id in the storage, which the sweeper gives.
        startup_trials: finished trials before any is pruned.
        warm_up_epochs: epochs before a trial is pruned.

    Raises:
        ConfigError: there is no such study or no Optuna.
    """

    def __init__(
        self, study: str, storage: str, trial: int | None, startup_trials: int = 5, warm_up_epochs: int = 1
    ) -> None:
        if trial is None:
            raise ConfigError("sweep=optuna searches over many runs: add -m (--multirun) to the command.")
        self.study = study
        self.storage = storage
        self.trial = trial
        self.startup_trials = startup_trials
        self.warm_up_epochs = warm_up_epochs

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageTraining)
        lagging = False
        if trainer.is_global_zero and not trainer.sanity_checking:
            # Nothing would be saved by giving up at the stage's end.
            value = float(trainer.callback_metrics[pl_module.monitor])
            lagging = self._report(value, trainer.current_epoch, is_last(trainer))
        if trainer.strategy.broadcast(lagging):
            raise Pruned(
                f"Given up after epoch {trainer.current_epoch + 1}: {pl_module.monitor} lags behind other trials."
            )

    def _report(self, value: float, epoch: int, last: bool) -> bool:
        """Tells the study the metric; gives whether to give up, and notes that in the study."""
        import optuna

        trial: Any = optuna.Trial(
            optuna.load_study(
                study_name=self.study,
                storage=self.storage,
                pruner=optuna.pruners.MedianPruner(self.startup_trials, self.warm_up_epochs),
            ),
            self.trial,
        )
        # A resumed run repeats the epochs after its checkpoint.
        if epoch not in trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values:
            trial.report(value, epoch)
        lagging = not last and bool(trial.should_prune())  # Optuna gives NumPy's
        trial.set_user_attr("pruned", lagging)
        return lagging
