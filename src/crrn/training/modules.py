"""The LightningModule that trains any stage of any network.

It is thin: the network, the loss and the data are made elsewhere; it only says what one training step and one
validation step are, and which weights the optimizer may touch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from crrn import __version__
from crrn.errors import CheckpointError, ConfigError
from crrn.layers import Layers
from crrn.losses import ReconstructionLoss
from crrn.metrics import ImageQuality
from crrn.mixing import Mixture
from crrn.nets import Network
from crrn.training.guards import NonFinite
from crrn.training.schedules import Schedule

OptimizerFactory = Callable[..., torch.optim.Optimizer]

IDENTITY = ("identity_background", "identity_gradient")
"""Rows of the identity (output = input): the mixture as background, and its gradient as the background's."""


class StageTraining(L.LightningModule):
    """One stage: one training step, one validation step, the optimizer.

    Every parameter of ``net`` is trained, and nothing else exists in the module, so a stage that trains a part of a
    larger network is given that part.

    Args:
        net: what is trained.
        loss: the weighted terms.
        optimizer: called as ``optimizer(parameters, lr=learning_rate)``.
        learning_rate: the peak learning rate.
        schedule: called as ``schedule(optimizer, steps_per_epoch=..., epochs=...)``; steps once per optimizer step.
        monitor: the validation metric, higher is better, by which ``best.ckpt`` is chosen, such as
            "val/background_psnr"; None: the network's own.
        non_finite: "stop" or "skip", see :class:`crrn.training.guards.NonFinite`.
        name: the stage's name: its folder in the run directory and its prefix in the curves.
    """

    def __init__(
        self,
        net: Network,
        loss: ReconstructionLoss,
        optimizer: OptimizerFactory,
        learning_rate: float,
        schedule: Schedule,
        monitor: str | None = None,
        non_finite: str = "stop",
        name: str = "joint",
    ) -> None:
        super().__init__()
        refuse_foreign_terms(net, loss)
        if "lr" in getattr(optimizer, "keywords", {}):
            raise ConfigError(f"optimizer.lr is not looked at: give stages.{name}.learning_rate.")
        self.name = name
        self.monitor = monitor or net.monitor
        refuse_unknown_metric(net, self.monitor, f"stages.{self.name}.monitor")
        self.guard = NonFinite(non_finite)
        self.net = net
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.terms: dict[str, Tensor] = {}
        """The loss and its terms at the latest training step, detached and still on the device."""
        self.quality = nn.ModuleDict({name: ImageQuality() for name in (*Layers._fields, *IDENTITY)})

    def setup(self, stage: str) -> None:
        # Here, as processes that are spawned for further devices begin here.
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", ".*does not have many workers")  # data.loading.num_workers says why
        warnings.filterwarnings("ignore", ".*nn.functional.all_gather is deprecated")  # inside Lightning
        # The metrics are means over all devices before they are logged.
        warnings.filterwarnings("ignore", "It is recommended to use .self.log")

    def forward(self, mixture: Tensor) -> Layers:
        """Estimates the layers of ``mixture``, (N, 3, H, W) in [0, 1]."""
        return self.net(mixture)

    def estimate(self, batch: Mixture) -> Layers:
        """Estimates the layers of a batch as the stage's validation does; a network may be taught with the truth."""
        return self.net.taught(batch.mixture, batch.background)

    def targets(self, batch: Mixture, needed: Iterable[str] = Layers._fields) -> Layers:
        """The ground truth of a batch; the gradient of B is computed here, from tensors, and only when needed."""
        gradient = self.net.gradient_of(batch.background) if "gradient" in needed else None
        return Layers(batch.background, batch.reflection, gradient)

    def training_step(self, batch: Mixture, batch_idx: int) -> Tensor:
        self.guard.before(self.net)
        loss, terms = self.loss(self.estimate(batch), self.targets(batch, self.loss.layers), batch)
        self.terms = {"loss": loss.detach(), **terms}
        self.guard.after(self, loss, self.terms)
        return loss

    def on_after_backward(self) -> None:
        self.guard.after_backward(self, self.net)

    def validation_step(self, batch: Mixture, batch_idx: int) -> Layers:  # type: ignore[override]
        """Updates the metrics and gives the estimate to the callbacks."""
        targets = self.targets(batch)
        estimates = self.estimate(batch)
        rows = dict(zip(Layers._fields, estimates, strict=True))
        if rows["background"] is not None:
            rows["identity_background"] = batch.mixture
        if rows["gradient"] is not None:
            rows["identity_gradient"] = self.net.gradient_of(batch.mixture)
        for row, estimate in rows.items():
            if estimate is not None:
                known = batch.reflection_known if row == "reflection" else None
                self._quality(row).update(estimate.float(), getattr(targets, row.removeprefix("identity_")), known)
        return estimates

    def on_validation_epoch_end(self) -> None:
        """Logs ``val/<row>_<metric>``, such as ``val/background_ssim`` beside ``val/identity_background_ssim``."""
        for row in self.quality:
            quality = self._quality(row)
            if quality.update_called:
                values = {f"val/{row}_{metric}": value for metric, value in quality.compute().items()}
                self.log_dict(values, logger=False, rank_zero_only=False)
                quality.reset()

    def _quality(self, row: str) -> ImageQuality:
        quality = self.quality[row]
        assert isinstance(quality, ImageQuality)
        return quality

    def configure_optimizers(self) -> OptimizerLRScheduler:
        parameters: Iterable[nn.Parameter] = self.net.parameters()
        optimizer = self.optimizer(parameters, lr=self.learning_rate)
        epochs = self.trainer.max_epochs or 1
        steps_per_epoch = max(1, int(self.trainer.estimated_stepping_batches) // epochs)
        scheduler = self.schedule(optimizer, steps_per_epoch=steps_per_epoch, epochs=epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what a reader needs to rebuild the network: plain values, so that ``weights_only=True`` loads it."""
        checkpoint["crrn"] = {
            "net": dict(self.net.config),
            "stage": self.name,
            "version": __version__,
            "skipped_steps": self.guard.skipped,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another stage or architecture before its weights are touched."""
        found = checkpoint.get("crrn")
        if not isinstance(found, dict) or "net" not in found:
            raise CheckpointError("The checkpoint was not written by crrn: it does not say which network it holds.")
        if found.get("stage") != self.name or found["net"] != self.net.config:
            raise CheckpointError(
                f"The checkpoint holds stage '{found.get('stage')}' of {describe(found['net'])}, but the run trains "
                f"stage '{self.name}' of {describe(self.net.config)}; give the same net.* settings, or start a new "
                "run with name=NEW."
            )
        self.guard.skipped = found.get("skipped_steps", 0)


def refuse_foreign_terms(net: Network, loss: ReconstructionLoss) -> None:
    """Raises a ConfigError for a loss term on a layer that the network does not estimate, before anything is
    trained.
    """
    foreign = [layer for layer in loss.layers if layer not in net.estimates]
    if foreign:
        raise ConfigError(
            f"The loss has a term on the {foreign[0]}, which {describe(net.config)} does not estimate; take it out, "
            f"as in loss.{foreign[0]}=null, or choose another net.architecture."
        )


def refuse_unknown_metric(net: Network, monitor: str, setting: str) -> None:
    """Raises a ConfigError for a metric that no validation of the network will give, before anything is trained."""
    metrics = [f"val/{layer}_{metric}" for layer in net.estimates for metric in ("ssim", "si", "psnr")]
    if monitor not in metrics:
        raise ConfigError(
            f"{setting}={monitor} is no metric of {describe(net.config)}; choose one of {', '.join(metrics)}."
        )


def describe(net: dict[str, Any]) -> str:
    """A network's config as a person reads it: ``crrn (width 0.25)``."""
    rest = ", ".join(f"{key} {value}" for key, value in net.items() if key != "architecture")
    return f"{net.get('architecture')} ({rest})"
