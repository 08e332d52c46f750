"""Work beside the training: values that are read from the device later, and a thread that writes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor


class Background(Callback):
    """Does work in one thread, in the given order. All work is finished before the loggers are closed.

    An error is raised in the training's thread, at the next piece of work or at the end. After an error no further work
    is done, so that a checkpoint never follows metrics that were not written.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def submit(self, work: Callable[[], None]) -> None:
        """Do this in the thread, after all that was given before; raises what failed of that."""
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft().result()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="background")
        self._waiting.append(self._thread.submit(self._do, work))

    def finish(self) -> None:
        """Wait until all is done; raises what failed."""
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Finish, and end the thread."""
        try:
            self.finish()
        finally:
            if self._thread is not None:
                self._thread.shutdown()
                self._thread = None

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.finish()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        try:
            self.finish()
        except Exception as error:  # the first failure is the one to report
            exception.add_note(f"Then, in the background: {error}")

    def _do(self, work: Callable[[], None]) -> None:
        if not self._failed:
            try:
                work()
            except BaseException:
                self._failed = True
                raise


def background(trainer: L.Trainer) -> Callable[[Callable[[], None]], None]:
    """What does work beside a trainer's training: its `Background`, or, where it has none, the caller at once."""
    found = next((callback for callback in trainer.callbacks if isinstance(callback, Background)), None)  # type: ignore[attr-defined]
    return found.submit if found is not None else lambda work: work()


class Reading:
    """Tensors as they are now, to be read on the host later; taking it never waits for a GPU.

    Args:
        values: a tensor, or lists, tuples and dicts with tensors in them; what else they hold stays as it is.
    """

    def __init__(self, values: Any) -> None:
        self._values = apply_to_collection(values, Tensor, lambda value: value.detach().clone())
        devices: set[torch.device] = set()
        apply_to_collection(self._values, Tensor, lambda value: devices.add(value.device))
        self._taken = {device: torch.cuda.Event() for device in devices if device.type == "cuda"}
        for device, event in self._taken.items():
            event.record(torch.cuda.current_stream(device))

    def get(self) -> Any:
        """The same with the tensors on the host; waits until they are there."""
        # A stream of its own: the training's next kernels do not wait for the copies.
        streams = {device: torch.cuda.Stream(device) for device in self._taken}
        for device, stream in streams.items():
            stream.wait_event(self._taken[device])

        def to_host(value: Tensor) -> Tensor:
            if value.device not in streams:
                return value.cpu()
            host = torch.empty_like(value, device="cpu", pin_memory=True)
            with torch.cuda.stream(streams[value.device]):
                host.copy_(value, non_blocking=True)
            return host

        read = apply_to_collection(self._values, Tensor, to_host)
        for stream in streams.values():
            copied = torch.cuda.Event(blocking=True)
            copied.record(stream)
            copied.synchronize()
        return read
