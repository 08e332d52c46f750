"""The LightningModule that trains any stage of any network.

The network, the loss and the data are made elsewhere. This module defines one training step, one validation step, and
which weights the optimizer changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from crrn import __version__
from crrn.errors import CheckpointError, ConfigError
from crrn.layers import Layers
from crrn.losses import ReconstructionLoss
from crrn.mixing import Mixture
from crrn.nets.network import estimate, estimates_of, gradient_of, monitor_of, training_estimate
from crrn.nets.prediction import prediction_of
from crrn.nets.record import describe, find_record, upgraded
from crrn.training.guards import NonFinite
from crrn.training.objective import Objective, compiled_objective, objective, targets_of
from crrn.training.optimizers import Optimizer
from crrn.training.schedules import Schedule
from crrn.training.validation import SETS, Validation, refuse_unknown_metric


class StageTraining(L.LightningModule):
    """One stage: one training step, one validation step, the optimizer.

    All parameters of ``net`` are trained, except those that the optimizer freezes. A stage that trains a part of a
    larger network gets only that part.

    Args:
        net: the network or part to train.
        loss: the weighted terms.
        optimizer: which parameters are trained, and how.
        learning_rate: the peak learning rate.
        schedule: called as ``schedule(optimizer, steps_per_epoch=..., epochs=...)``; steps once per optimizer step.
        monitor: the validation metric that chooses ``best.ckpt``, such as "val/background_psnr" or "pairs/harm_rate",
            see :mod:`crrn.training.validation`; None: the network's own.
        non_finite: "stop" or "skip", see :class:`crrn.training.guards.NonFinite`.
        name: the stage's name, which is also its folder in the run directory and its prefix in the logs.
        prefix: the name of ``net`` in the larger network; empty if it is the whole network.
        compile: compile the forward pass and the loss of a training step to one graph for each shape of batch.

    Raises:
        ConfigError: a setting does not fit the network, or nothing is left to train.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: ReconstructionLoss,
        optimizer: Optimizer,
        learning_rate: float,
        schedule: Schedule,
        monitor: str | None = None,
        non_finite: str = "stop",
        name: str = "joint",
        prefix: str = "",
        compile: bool = False,
    ) -> None:
        super().__init__()
        refuse_foreign_terms(net, loss, name)
        self.frozen = optimizer.frozen(net, prefix)
        if not any(parameter.requires_grad for parameter in net.parameters()):
            raise ConfigError(
                f"optimizer.freeze=[{','.join(optimizer.freeze)}] leaves nothing to train in stage {name}."
            )
        self.name = name
        self.prefix = prefix
        self.monitor = monitor or monitor_of(net)
        refuse_unknown_metric(
            estimates_of(net), describe(find_record(net)), self.monitor, f"stages.{self.name}.monitor"
        )
        self.guard = NonFinite(non_finite)
        self.net = net
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.compiled = compile
        self._objective: Objective = objective
        self.terms: dict[str, Tensor] = {}
        """The loss and its terms at the latest training step, detached and still on the device."""
        self.validation = nn.ModuleDict({prefix: Validation() for prefix in SETS})
        self.train()  # Lightning keeps the modes that it finds

    def setup(self, stage: str) -> None:
        # Here, as processes that are spawned for further devices begin here.
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "Found \\d+ module\\(s\\) in eval mode")  # those that are frozen
        warnings.filterwarnings("ignore", ".*does not have many workers")  # data.loading.num_workers says why
        warnings.filterwarnings("ignore", ".*nn.functional.all_gather is deprecated")  # inside Lightning
        # The metrics are means over all devices before they are logged.
        warnings.filterwarnings("ignore", "It is recommended to use .self.log")
        if self.compiled:
            self.compile_objective()

    def compile_objective(self, backend: str = "inductor") -> None:
        """Has forward pass and loss compiled from the next training step on, see `compiled_objective`."""
        self._objective = compiled_objective(backend)

    def train(self, mode: bool = True) -> StageTraining:
        """Sets the mode of all modules but the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, mixture: Tensor) -> Layers:
        """Estimates the layers of ``mixture``, (N, 3, H, W) in [0, 1]."""
        return estimate(self.net, mixture)

    def estimate(self, batch: Mixture) -> Layers:
        """Estimates the layers of a batch as in training and validation, where a network may use the truth."""
        return training_estimate(self.net, batch.mixture, batch.background)

    def targets(self, batch: Mixture, needed: Iterable[str] = Layers._fields) -> Layers:
        """The ground truth of a batch, see `targets_of`."""
        return targets_of(self.net, batch, needed)

    def training_step(self, batch: Mixture, batch_idx: int) -> Tensor:
        self.guard.before(self.net)
        loss, terms = self._objective(self.net, self.loss, batch)
        self.terms = {"loss": loss.detach(), **terms}
        self.guard.after(torch.stack([value.float() for value in self.terms.values()]))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.guard.before_step(self, optimizer, list(self.terms))

    def on_train_epoch_end(self) -> None:
        self.guard.read(self)

    def validation_step(self, batch: Mixture, batch_idx: int, dataloader_idx: int = 0) -> Layers:  # type: ignore[override]
        """Updates the metrics of the set and gives the estimate to the callbacks."""
        estimated = self.estimate(batch)
        identity = Layers(
            background=None if estimated.background is None else batch.mixture,
            gradient=None if estimated.gradient is None else gradient_of(self.net, batch.mixture),
        )
        self._validation(SETS[dataloader_idx]).update(estimated, self.targets(batch), identity, batch.reflection_known)
        return estimated

    def on_validation_epoch_end(self) -> None:
        """Logs what :mod:`crrn.training.validation` names."""
        for prefix in SETS:
            values = {f"{prefix}/{name}": value for name, value in self._validation(prefix).compute().items()}
            self.log_dict(values, logger=False, rank_zero_only=False, add_dataloader_idx=False)

    def _validation(self, prefix: str) -> Validation:
        validation = self.validation[prefix]
        assert isinstance(validation, Validation)
        return validation

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer(self.net, self.learning_rate, self.prefix)
        epochs = self.trainer.max_epochs or 1
        steps_per_epoch = max(1, int(self.trainer.estimated_stepping_batches) // epochs)
        scheduler = self.schedule(optimizer, steps_per_epoch=steps_per_epoch, epochs=epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what a reader needs to rebuild the network: plain values, so that ``weights_only=True`` loads it."""
        checkpoint["crrn"] = {
            "net": find_record(self.net),
            "prediction": prediction_of(self.net).record(),
            "stage": self.name,
            "version": __version__,
            "skipped_steps": self.guard.skipped,
            "optimizer": self.optimizer.parts(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another stage or network before its weights are touched."""
        found = checkpoint.get("crrn")
        if not isinstance(found, dict) or "net" not in found:
            raise CheckpointError("The checkpoint was not written by crrn: it does not say which network it holds.")
        if found.get("stage") != self.name or upgraded(found["net"] or {}) != (find_record(self.net) or {}):
            raise CheckpointError(
                f"The checkpoint holds stage '{found.get('stage')}' of {describe(found['net'])}, but the run trains "
                f"stage '{self.name}' of {describe(find_record(self.net))}; give the same net.* settings, or start a "
                "new run with name=NEW."
            )
        begun = found.get("optimizer", {"freeze": [], "lr_mult": {}})
        if begun != self.optimizer.parts():
            raise CheckpointError(
                f"The checkpoint was written with optimizer.freeze=[{','.join(begun['freeze'])}] and optimizer.lr_mult="
                f"{begun['lr_mult']}; give the same, or start a new run with name=NEW and init={{net: PATH}}."
            )
        self.guard.skipped = found.get("skipped_steps", 0)


def refuse_foreign_terms(net: nn.Module, loss: ReconstructionLoss, stage: str) -> None:
    """Raises a ConfigError for a loss term on a layer that the network does not estimate, before anything is
    trained.
    """
    foreign = loss.foreign_to(estimates_of(net))
    if foreign:
        # The joint stage's loss is the group `loss`; other stages have their own.
        setting = "loss" if stage == "joint" else f"stages.{stage}.loss"
        raise ConfigError(
            f"The loss has a term on the {next(iter(foreign.values()))}, which {describe(find_record(net))} does not "
            f"estimate; give {' '.join(f'{setting}.{term}=null' for term in foreign)}, or choose another net."
        )
