"""A callback of one's own: any of Lightning's."""

import lightning.pytorch as L


class WeightNorm(L.Callback):
    """Writes the norm of all weights to metrics.csv and the loggers after each epoch."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The root of the sum of squares."""
        squares = [weight.detach().square().sum() for weight in pl_module.parameters()]
        for logger in trainer.loggers:
            logger.log_metrics({"weight_norm": float(sum(squares)) ** 0.5}, trainer.global_step)
