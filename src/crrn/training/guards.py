"""Guards: what a run does when a loss is not a number, memory or the disk is full, a worker dies, or it is to stop.

Each ends in one clear sentence, with the last checkpoint intact.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from crrn.errors import ConfigError, CrrnError, RunError
from crrn.training.recovery import newest_checkpoint

POLICIES = ("stop", "skip")


class NonFiniteLoss(RuntimeError):
    """A loss that is infinite or not a number; the message says where."""


class NonFinite:
    """What happens at a training step whose loss is infinite or not a number on any device.

    With "stop" the run ends before the weights are touched. With "skip" the step leaves weights, momenta and batch
    statistics as they were and is counted; the schedule goes on.

    Args:
        policy: "stop" or "skip".

    Raises:
        ConfigError: another policy.
    """

    def __init__(self, policy: str = "stop") -> None:
        if policy not in POLICIES:
            raise ConfigError(f"non_finite={policy!r} is unknown: choose one of {', '.join(POLICIES)}.")
        self.policy = policy
        self.skipped = 0
        self.skipping = False
        self._buffers: list[Tensor] = []

    def before(self, net: nn.Module) -> None:
        """Remembers the batch statistics, which a forward pass changes before its loss is known."""
        if self.policy == "skip":
            self._buffers = [buffer.clone() for buffer in net.buffers()]

    def after(self, module: L.LightningModule, loss: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Looks at the loss; all devices decide alike.

        Raises:
            NonFiniteLoss: it is not finite and the policy is "stop".
        """
        flag = loss.detach().isfinite().logical_not().float()
        self.skipping = bool(module.trainer.strategy.reduce(flag, reduce_op="sum"))
        if not self.skipping:
            return
        report = describe_batch(module)
        if self.policy == "stop":
            bad = ", ".join(name for name, value in terms.items() if not value.isfinite())
            raise NonFiniteLoss(
                f"The loss is not finite ({bad}) at {report}. Lower the learning rate, set "
                "trainer.gradient_clip_val=1, or leave such steps out by non_finite=skip."
            )
        self.skipped += 1
        L.utilities.rank_zero.rank_zero_warn(
            f"The loss is not finite at {report}: step skipped, {self.skipped} so far.", category=RuntimeWarning
        )

    def after_backward(self, module: L.LightningModule, net: nn.Module) -> None:
        """Undoes a skipped step: puts the batch statistics back and takes the gradients away, so that the optimizer
        does nothing. With 16-mixed they stay: the gradient scaler skips such a step itself.
        """
        if not self.skipping:
            return
        for buffer, before in zip(net.buffers(), self._buffers, strict=True):
            buffer.copy_(before)
        if getattr(module.trainer.precision_plugin, "scaler", None) is None:
            for parameter in module.parameters():
                parameter.grad = None


def describe_batch(module: L.LightningModule) -> str:
    """``step 12 of stage joint (epoch 3; samples 4, 5, 6, 7 of plan epoch 5)``: what is needed to make the batch
    again."""
    trainer = module.trainer
    where = f"epoch {trainer.current_epoch + 1}"
    data = getattr(trainer, "datamodule", None)
    if data is not None and hasattr(data, "latest"):
        gathered = module.trainer.strategy.all_gather(data.latest.to(module.device))
        numbers = ", ".join(str(k) for k in gathered.flatten().tolist())
        where += f"; samples {numbers} of the plan's epoch {data.first_epoch + trainer.current_epoch} with its seed"
        where += f" {data.seed}"
    return f"step {trainer.global_step + 1} of stage {getattr(module, 'name', '')} ({where})"


def resume_hint(checkpoint: Path | None) -> str:
    """Where the run can go on from."""
    if checkpoint is None:
        return "No checkpoint was written yet."
    return f"The last good checkpoint is {checkpoint}; resume=auto goes on from it."


@contextmanager
def clear_errors(module: L.LightningModule, folder: Path) -> Iterator[None]:
    """Turns what a machine does to a run into one clear sentence: exhausted memory, a killed worker, a full disk. A run
    that is stopped by Ctrl-C or SIGTERM says how it goes on, and ends with the shell's status for that signal.

    Raises:
        RunError: naming the step, the cause, the way out, and the checkpoint to go on from.
    """
    try:
        yield
    except CrrnError:
        raise
    except SystemExit as stop:  # Lightning's answer to both signals; to SIGTERM with the status of success
        if module.trainer.is_global_zero:
            where = f"Stopped at step {module.trainer.global_step} of stage {getattr(module, 'name', '')}."
            print(f"{where} {resume_hint(newest_checkpoint(folder))}", file=sys.stderr)
        number = signal.SIGTERM if isinstance(stop, SIGTERMException) else signal.SIGINT
        raise SystemExit(128 + number) from stop
    except (MemoryError, RuntimeError, OSError) as error:
        cause = explain(error, module)
        if cause is None:
            raise
        raise RunError(f"{cause} {resume_hint(newest_checkpoint(folder))}") from error


def explain(error: BaseException, module: L.LightningModule) -> str | None:
    """What went wrong and the way out, or None for an error that is not the machine's."""
    if isinstance(error, NonFiniteLoss):
        return str(error)
    text = str(error)
    where = f"at step {module.trainer.global_step + 1}"
    if isinstance(error, torch.OutOfMemoryError):
        return (
            f"The device's memory is exhausted {where}: lower data.batches.batch_size (and raise "
            "trainer.accumulate_grad_batches), set trainer.precision=bf16-mixed, or lower net.width."
        )
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return (
            f"The computer's memory is exhausted {where}: lower data.batches.batch_size or "
            "data.loading.num_workers, or set data.loading.cache=false."
        )
    if re.search(r"DataLoader worker .*(killed by signal|exited unexpectedly)", text):
        return (
            f"A process that loads photos was killed {where}, mostly because the computer's memory is exhausted: lower "
            "data.loading.num_workers, or set it to 0."
        )
    if isinstance(error, getattr(torch.distributed, "DistError", ())) or "gloo/transport" in text:
        return (
            f"Another process of the run ended {where}: what it printed says why; one that printed nothing was killed, "
            "mostly because memory was exhausted."
        )
    if isinstance(error, OSError):
        file = f" {error.filename}" if error.filename else ""
        return f"Cannot use{file or ' a file'} {where}: {error.strerror or error}; free space or set run_root=DIR."
    return None
