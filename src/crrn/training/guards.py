"""Guards: what a run does if a loss is not a number, memory or disk is full, a worker dies, or it is stopped.

In each case the run ends with one sentence, and the last checkpoint is intact.
"""

from __future__ import annotations

import math
import re
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from crrn.errors import CheckpointError, ConfigError, CrrnError, RunError
from crrn.private import copy_all, is_of_the_compiler
from crrn.training.background import Reading
from crrn.training.recovery import newest_checkpoint

POLICIES = ("stop", "skip")

LATER = 16
"""Steps after which a GPU has long told whether a step was finite; a fixed number, so that all devices stop alike."""


class NonFiniteLoss(RuntimeError):
    """A loss that is infinite or not a number; the message says where."""


class NonFinite:
    """Handles optimizer steps whose loss or gradient is infinite or not a number on any device.

    Such a step changes nothing: weights, momenta and batch statistics stay as they were. This includes all batches
    whose gradients it accumulates. The check runs on the device. The host reads its result `LATER` steps later (on a
    CPU at once). Then the run ends ("stop"), or the step is counted and the schedule goes on ("skip").

    With 16-mixed, the gradient scaler skips steps whose gradients overflow and lowers its scale. Only losses are
    checked here.

    Args:
        policy: "stop" or "skip".

    Raises:
        ConfigError: another policy.

    Attributes:
        skipped: the steps that were left out, as far as they were read.
    """

    def __init__(self, policy: str = "stop") -> None:
        if policy not in POLICIES:
            raise ConfigError(f"non_finite={policy!r} is unknown: choose one of {', '.join(POLICIES)}.")
        self.policy = policy
        self.skipped = 0
        self._statistics = Statistics()
        self._terms: Tensor | None = None
        self._found: deque[Found] = deque()

    def before(self, net: nn.Module) -> None:
        """Remembers the batch statistics at the first batch of a step: a forward pass changes them before its loss is
        known."""
        if self._terms is None:
            self._statistics.remember(net)

    def after(self, terms: Tensor) -> None:
        """Takes the loss of a batch and its terms, (1 + T,)."""
        self._terms = terms if self._terms is None else self._terms + terms  # what is not finite remains so

    def before_step(self, module: L.LightningModule, optimizer: torch.optim.Optimizer, names: Sequence[str]) -> None:
        """Looks at losses and gradients, and leaves the step out where they are not finite; all devices decide alike.

        Args:
            module: what is trained.
            optimizer: about to take its step.
            names: of the terms.

        Raises:
            NonFiniteLoss: a step that was read now is not finite, and the policy is "stop".
        """
        trainer = module.trainer
        assert self._terms is not None
        terms, self._terms = self._terms, None
        bad = terms[0].isfinite().logical_not()
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        if gradients and not scaled:
            bad = bad | torch.nn.utils.get_total_norm(gradients).isfinite().logical_not()
        bad = trainer.strategy.reduce(bad.float(), reduce_op="sum").clamp(max=1)
        data = getattr(trainer, "datamodule", None)
        self._found.append(
            Found(
                trainer.global_step + 1,
                trainer.current_epoch,
                list(names),
                Reading(torch.cat((bad[None], terms))),
                getattr(data, "latest", None),
            )
        )
        self._statistics.restore(bad)
        if not scaled:
            leave_out(optimizer, bad)
        self.read(module, LATER if bad.device.type == "cuda" else 0)

    def read(self, module: L.LightningModule, later: int = 0) -> None:
        """Reads what was found, but for the last ``later`` steps; all devices must call it together.

        Raises:
            NonFiniteLoss: a step is not finite and the policy is "stop".
        """
        while len(self._found) > later:
            found = self._found.popleft()
            bad, *terms = found.values.get().tolist()
            if not bad:
                continue
            place = describe_step(module, found)
            if self.policy == "stop":
                broken = [name for name, value in zip(found.names, terms, strict=True) if not math.isfinite(value)]
                what = f"loss is not finite ({', '.join(broken)})" if broken else "gradient is not finite"
                raise NonFiniteLoss(
                    f"The {what} at {place}. Lower the learning rate, set trainer.gradient_clip_val=1, or leave such "
                    "steps out by non_finite=skip."
                )
            self.skipped += 1
            L.utilities.rank_zero.rank_zero_warn(
                f"The loss or its gradient is not finite at {place}: step skipped, {self.skipped} so far.",
                category=RuntimeWarning,
            )


class Found(NamedTuple):
    """What was found at a step: whether it is not finite, and its terms."""

    step: int
    epoch: int
    names: list[str]
    values: Reading
    samples: Tensor | None


class Statistics:
    """The buffers of a network as they were, of each type in one tensor."""

    def __init__(self) -> None:
        self._kinds: list[tuple[list[Tensor], Tensor]] = []

    def remember(self, net: nn.Module) -> None:
        """Keeps a copy of all buffers."""
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for buffer in net.buffers():
            kinds.setdefault(buffer.dtype, []).append(buffer)
        self._kinds = [(buffers, _flat(buffers)) for buffers in kinds.values()]

    def restore(self, wanted: Tensor) -> None:
        """Puts the copy back where ``wanted``, a scalar on the device, is not 0."""
        for buffers, before in self._kinds:
            chosen = torch.where(wanted.bool(), before, _flat(buffers)).split([buffer.numel() for buffer in buffers])
            copy_all(buffers, [part.view_as(buffer) for part, buffer in zip(chosen, buffers, strict=True)])


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def leave_out(optimizer: torch.optim.Optimizer, wanted: Tensor) -> None:
    """Makes the optimizer's next step do nothing where ``wanted``, a scalar on the device, is 1.

    Torch's fused optimizers do so without a wait for the device, as they do for torch's gradient scaler. For others the
    host reads ``wanted`` and takes the gradients away.
    """
    if optimizer.defaults.get("fused"):
        optimizer.found_inf = wanted  # type: ignore[attr-defined]
    elif wanted:
        optimizer.zero_grad(set_to_none=True)


def describe_step(module: L.LightningModule, found: Found) -> str:
    """``step 12 of stage joint (epoch 3; samples 4, 5, 6, 7 of the plan's epoch 5 with its seed 2018)``: what is needed
    to make the batch again."""
    parts = [f"epoch {found.epoch + 1}"]
    data = getattr(module.trainer, "datamodule", None)
    if data is not None and found.samples is not None:
        gathered = module.trainer.strategy.all_gather(found.samples.to(module.device))
        numbers = ", ".join(map(str, gathered.flatten().tolist()))
        parts.append(
            f"samples {numbers} of the plan's epoch {data.first_epoch + found.epoch} with its seed {data.seed}"
        )
    return f"step {found.step} of stage {getattr(module, 'name', '')} ({'; '.join(parts)})"


def resume_hint(checkpoint: Path | None) -> str:
    """Where the run can go on from."""
    if checkpoint is None:
        return "No checkpoint was written yet."
    return f"The last good checkpoint is {checkpoint}; resume=auto goes on from it."


class Begun(Callback):
    """Tells whether a training has begun: before that, it is restored from its checkpoint."""

    yet = False

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.yet = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.yet = True


@contextmanager
def clear_errors(
    module: L.LightningModule, folder: Path, resumed: Path | None = None, begun: Begun | None = None
) -> Iterator[None]:
    """Turns what a machine does to a run into one clear sentence: exhausted memory, a killed worker, a full disk. A run
    that is stopped by Ctrl-C or SIGTERM says how it goes on, and ends with the shell's status for that signal.

    Args:
        module: what is trained.
        folder: its stage's.
        resumed: the checkpoint that the training goes on from.
        begun: whether it has gone on.

    Raises:
        RunError: naming the step, the cause, the way out, and the checkpoint to go on from.
        CheckpointError: the training cannot be restored from the checkpoint.
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
    except Exception as error:
        try:
            cause = explain(error, module) if isinstance(error, MemoryError | RuntimeError | OSError) else None
            hint = resume_hint(newest_checkpoint(folder)) if cause else ""
        except RuntimeError as worker:  # PyTorch's signal handler, which tells meanwhile that a worker was killed
            cause, hint = explain(worker, module), resume_hint(newest_checkpoint(folder))
        if cause is not None:
            raise RunError(f"{cause} {hint}") from error
        if resumed is None or begun is None or begun.yet:
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"The training cannot go on from {resumed} ({reason}): it is of another network or optimizer, or not "
            f"crrn's. Give the settings that the run was started with, or remove {folder} to train the stage again."
        ) from error


def explain(error: BaseException, module: L.LightningModule) -> str | None:
    """What went wrong and the way out, or None for an error that is not the machine's."""
    if isinstance(error, NonFiniteLoss):
        return str(error)
    text = str(error)
    if is_of_the_compiler(error):
        reason = " ".join(text.strip().partition("\n\n")[0].split())  # behind it: how to debug the compiler
        return (
            f"The training step cannot be compiled ({reason:.200}): give compile=false, or install a C++ compiler "
            "where there is none (Debian: apt-get install g++)."
        )
    where = f"at step {module.trainer.global_step + 1}"
    if isinstance(error, torch.OutOfMemoryError):
        return (
            f"The device's memory is exhausted {where}: lower data.batches.batch_size (and raise "
            "trainer.accumulate_grad_batches), set trainer.precision=bf16-mixed, or lower width."
        )
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return (
            f"The computer's memory is exhausted {where}: lower data.batches.batch_size or "
            "data.loading.num_workers, or set data.loading.cache=false."
        )
    # A worker that dies while it hands over a batch is seen as a broken connection first.
    killed = re.search(r"DataLoader worker .*(killed by signal|exited unexpectedly)", text)
    if killed or isinstance(error, ConnectionResetError):
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
