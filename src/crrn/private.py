"""Private interfaces of libraries: all that crrn uses, in this one file. No public interface does the same.

A release of these libraries may change them without notice. ``CHECKED`` names the releases that they were checked with.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    import optuna
    from lightning.pytorch.strategies import DDPStrategy
    from torch import Tensor, nn
    from torch.utils.data import DataLoader

CHECKED = {
    "gradio": ("6.31", "6.31.0"),
    "lightning": ("2.6.4", "2.6.6"),
    "optuna": ("4.0.0", "5.0.0"),
    "torch": ("2.11.0", "2.15.0"),
    "torchmetrics": ("1.7.0", "1.9.0"),
}
"""The lowest and the highest release that each library was checked with: continuous integration runs the tests with
both."""

PATIENT_LAUNCH: dict[str, Any] = {"_frontend": False}
"""For `gradio.Blocks.launch`: a server that has started is not given up because it takes three seconds to answer, as it
does on a busy machine."""


def find_unused_parameters(strategy: DDPStrategy) -> None:
    """Let a strategy that is set up later expect parameters without a gradient, unless its own settings say otherwise.

    Lightning offers this only as an argument of the constructor, before it has decided whether to use DDP.
    """
    strategy._ddp_kwargs.setdefault("find_unused_parameters", True)


def trial_id(trial: optuna.Trial | optuna.trial.FrozenTrial) -> int:
    """The id in its storage of a trial: another process builds the same trial from it."""
    return trial._trial_id


def stop_workers(loader: DataLoader[Any]) -> None:
    """End a loader's worker processes at once; another iteration starts new ones.

    Left to the garbage collector, which may close the queues to the workers before it tells the workers to stop, this
    can take five seconds for each worker.
    """
    iterator = cast(Any, loader._iterator)
    if iterator is not None and hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()
        loader._iterator = None


def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each source into its target, by few launches on a GPU where a loop makes one for each tensor."""
    import torch

    if targets:
        torch._foreach_copy_(list(targets), list(sources))


def allow_graphs(count: int) -> None:
    """Let ``torch.compile`` make so many graphs of one function at least; it makes 8, and then compiles no more.

    ``torch.compile`` takes such a limit itself only in releases after the lowest that is supported.
    """
    from torch._dynamo import config

    config.recompile_limit = max(config.recompile_limit, count)


def is_of_the_compiler(error: BaseException) -> bool:
    """Whether ``torch.compile`` raised an error because it could not compile, rather than what it compiled."""
    return type(error).__module__ in ("torch._dynamo.exc", "torch._inductor.exc")


@contextmanager
def peak_of_tensors() -> Iterator[Callable[[], int]]:
    """Count the bytes of the tensors that torch's operations make within, while they live; what is given tells their
    highest number.

    A device's allocator tells the same of GPUs only.
    """
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    sizes: dict[int, int] = {}
    peak = 0

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal peak
            given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
            result = func(*args, **(kwargs or {}))
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    storage = leaf.untyped_storage()
                    key = storage._cdata
                    if key not in given and key not in sizes:
                        sizes[key] = storage.nbytes()
                        weakref.finalize(storage, sizes.pop, key, None)
            peak = max(peak, sum(sizes.values()))
            return result

    with Counting():
        yield lambda: peak


class Operation(NamedTuple):
    """One of torch's operations that was carried out.

    Attributes:
        name: such as "aten.convolution_backward.default".
        view: whether it only looks at memory in another way.
        flops: floating-point operations, by torch's own formulas; 0 for what is no product or convolution.
        bytes: of memory that it reads and writes, each tensor once.
        seconds: what it took, by the clock of `each_operation`.
    """

    name: str
    view: bool
    flops: int
    bytes: int
    seconds: float


@contextmanager
def each_operation(see: Callable[[Operation], None], now: Callable[[], float] = time.perf_counter) -> Iterator[None]:
    """Show all operations within, those of a backward pass too, once they are done.

    Args:
        see: is called with each.
        now: a clock in seconds.
    """
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import flop_registry

    def tensors(values: Any) -> list[Tensor]:
        return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]

    def moved(func: Any, args: Any, kwargs: dict[str, Any], result: Any) -> int:
        if "empty" in str(func):
            return 0
        read = tensors((args, {name: value for name, value in kwargs.items() if name != "out"}))
        written = tensors(result)
        if not written:  # an operation on lists, in place
            changed = [
                value
                for argument, value in zip(func._schema.arguments, args, strict=False)
                if argument.alias_info is not None and argument.alias_info.is_write
            ]
            written = tensors(changed)
        return sum(tensor.nbytes for tensor in (*read, *written))

    class Seeing(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            began = now()
            result = func(*args, **kwargs)
            seconds = now() - began
            count = flop_registry.get(func._overloadpacket)
            flops = count(*args, **kwargs, out_val=result) if count is not None else 0
            see(Operation(str(func), func.is_view, flops, moved(func, args, kwargs, result), seconds))
            return result

    with Seeing():
        yield


@contextmanager
def without_values() -> Iterator[None]:
    """Within it, tensors that are made lie on a GPU, which need not be there, and hold no values."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), torch.device("cuda"):
        yield


def any_size() -> AbstractContextManager[None]:
    """Let ``torch.export`` capture a graph for all sizes, as ``torch.onnx.export`` does: without it the graph of a
    network with padding would hold for sides above 32 only."""
    from torch.fx.experimental import _config

    return cast(AbstractContextManager[None], _config.patch(backed_size_oblivious=True))  # type: ignore[attr-defined]


def lpips_network(backbone: Literal["alex", "vgg", "squeeze"]) -> nn.Module:
    """LPIPS with a random backbone, in evaluation mode: ``forward(x, y, normalize=True)`` takes (N, 3, H, W) in [0, 1]
    and returns (N, 1, 1, 1). The public class downloads its backbone."""
    from torchmetrics.functional.image.lpips import _LPIPS

    return _LPIPS(net=backbone, pnet_rand=True)


def dists_network() -> nn.Module:
    """DISTS with a random backbone: ``forward(x, y)`` takes (N, 3, H, W) in [0, 1] and returns (N,), or a scalar where
    N is 1. The constructor downloads its backbone, so its stages are laid out here; the rest is its own."""
    import torch
    from torch import nn
    from torchmetrics.functional.image import dists

    network = dists.DISTSNetwork.__new__(dists.DISTSNetwork)
    nn.Module.__init__(network)
    number, channels = 0, 3
    for stage, widths in enumerate(((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3), start=1):
        layers = nn.Sequential()
        if stage > 1:
            layers.add_module(str(number), dists.L2pooling(channels=channels))
            number += 1
        for width in widths:
            layers.add_module(str(number), nn.Conv2d(channels, width, 3, padding=1))
            layers.add_module(str(number + 1), nn.ReLU())
            number, channels = number + 2, width
        network.add_module(f"stage{stage}", layers)
    network.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, -1, 1, 1))
    network.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, -1, 1, 1))
    network.chns = [3, 64, 128, 256, 512, 512]
    calibration = torch.load(dists._PATH_WEIGHT_DISTS, map_location="cpu", weights_only=True)
    for name in ("alpha", "beta"):
        network.register_buffer(name, calibration[name].detach())
    return network
