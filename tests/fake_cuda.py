"""A GPU that computes nothing: what would wait for one is found on any machine.

PyTorch's fake tensors have a device, a shape and a type but no values. A step on fake CUDA tensors runs the real code,
and each operation is looked at: those that wait for a GPU raise an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense.default: "a value is read on the host (item, bool, float, int)",
    aten.nonzero.default: "a shape depends on values (a mask as index, nonzero)",
    aten.masked_select.default: "a shape depends on values (masked_select)",
    aten.repeat_interleave.Tensor: "a shape depends on values (repeat_interleave)",
    aten._unique2.default: "a shape depends on values (unique)",
}


class Waits(AssertionError):
    """An operation that waits for the device."""


class Watch(TorchDispatchMode):
    """Raises `Waits` at an operation for which the host waits for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [value for value in args if isinstance(value, Tensor)]
        if func in WAITING and tensors and tensors[0].is_cuda:
            raise Waits(f"{func}: {WAITING[func]}")
        if func is aten.index.Tensor and tensors[0].is_cuda:
            for index in args[1]:
                if index is not None and (not index.is_cuda or index.dtype in (torch.bool, torch.uint8)):
                    raise Waits(f"{func}: an index on the host, or a mask")
        device = kwargs.get("device")
        if func is aten._to_copy.default and device is not None and tensors[0].device.type != torch.device(device).type:
            self._copy(tensors[0].device, torch.device(device), kwargs.get("non_blocking", False))
        if func is aten.copy_.default and tensors[0].device.type != tensors[1].device.type:
            self._copy(tensors[1].device, tensors[0].device, kwargs.get("non_blocking", len(args) > 2 and args[2]))
        return func(*args, **kwargs)

    @staticmethod
    def _copy(source: torch.device, target: torch.device, non_blocking: bool) -> None:
        if not non_blocking:
            raise Waits(f"a copy from {source} to {target} that is not non_blocking")


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Within it, tensors and modules that are made lie on a fake GPU and hold no values."""
    with FakeTensorMode(allow_non_fake_inputs=False) as mode, torch.device("cuda"):
        fake_cuda.mode = mode  # type: ignore[attr-defined]
        yield


def on_cuda(values: Any) -> Any:
    """Fake CUDA tensors in the place of real ones, in nested lists, tuples and dicts; within `fake_cuda`."""
    mode = fake_cuda.mode  # type: ignore[attr-defined]
    return apply_to_collection(values, Tensor, lambda value: mode.from_tensor(value).to("cuda"))
