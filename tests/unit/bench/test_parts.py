"""What operations compute and move, and to which part of a step they are counted."""

import pytest
import torch
from torch import nn

from crrn.bench.bench import Bench
from crrn.bench.parts import CONVOLUTIONS, LOSS, OPTIMIZER, PARTS, VGG, PartsSuite, Watch
from crrn.nets import CRRN
from crrn.private import Operation, each_operation
from crrn.training.counters import training_flops

KB = 1024


def operations(run) -> list[Operation]:
    found: list[Operation] = []
    with each_operation(found.append):
        run()
    return [operation for operation in found if not operation.view]


@pytest.mark.parametrize(
    ("run", "moved"),
    [
        (lambda x: x.relu(), 2),
        (lambda x: x.relu_(), 2),
        (lambda x: torch.cat((x, x)), 4),
        (lambda x: torch.add(x, x, out=torch.empty_like(x)), 3),
        (lambda x: torch._foreach_add_([x, x.clone()], [x, x]), 8),  # the copy, then two read and written
        (lambda x: x.view(16, 16)[:4], 0),
        (lambda x: torch.empty_like(x), 0),
    ],
)
def test_each_tensor_counts_once_for_each_time_it_is_read_or_written(run, moved: int) -> None:
    x = torch.rand(256)  # a kilobyte
    assert sum(operation.bytes for operation in operations(lambda: run(x))) == moved * KB


def test_products_count_two_operations_for_each_weight() -> None:
    a, b = torch.rand(8, 16), torch.rand(16, 4)
    (product,) = operations(lambda: a @ b)
    assert product.flops == 2 * 8 * 16 * 4 and product.bytes == 4 * (8 * 16 + 16 * 4 + 8 * 4) and product.seconds > 0


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.iin = nn.ModuleDict({"encoder": nn.Conv2d(3, 4, 3)})
        self.head = nn.Conv2d(4, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.iin["encoder"](x))


def test_a_backward_pass_belongs_to_its_modules() -> None:
    net, watch = Two(), Watch()
    with watch.all():
        net(torch.rand(1, 3, 16, 16)).sum().backward()
        with watch.within(OPTIMIZER):
            net.head.weight.detach().mul_(2)
    encoder, head = 2 * 14 * 14 * 27 * 4, 2 * 12 * 12 * 36 * 2
    assert watch.parts[CONVOLUTIONS].flops == 3 * head
    assert watch.parts[VGG].flops == 2 * encoder  # the image needs no gradient
    assert watch.parts[OPTIMIZER].bytes == 2 * 4 * 36 * 2


def test_the_parts_are_the_whole_step() -> None:
    suite = PartsSuite(width=0.05, batch=2, size="32x64", measured_width=0.05)
    counted = suite._counted()
    network = sum(part.flops for name, part in counted.items() if name != LOSS)
    assert network == 2 * training_flops(CRRN(0.05), lambda net, images: net(images), 32, 64)
    sizes, before, convolutions = [(32, 64)] * 2 + [(16, 32)] * 2 + [(8, 16)] * 3 + [(4, 8)] * 3 + [(2, 4)] * 3, 3, 0
    for number, (channels, (height, width)) in enumerate(
        zip([3] * 2 + [6] * 2 + [13] * 3 + [26] * 6, sizes, strict=True)
    ):
        passes = 3 if number else 2  # the image needs no gradient
        convolutions += passes * 2 * 2 * height * width * 9 * before * channels
        before = channels
    assert counted[VGG].flops == convolutions
    assert counted[OPTIMIZER].bytes == 28 * sum(parameter.numel() for parameter in CRRN(0.05).parameters())
    bench = Bench("parts", repetitions=3, seconds=0.01)
    suite.run(bench)
    shares = [line.samples for line in bench.lines if line.title.endswith("share of the time")]
    assert len(shares) == len(PARTS) - 1  # float32 casts nothing
    assert [sum(step) for step in zip(*shares, strict=True)] == pytest.approx([100] * len(shares[0]))
    (least,) = [line.value.median for line in bench.lines if line.title.startswith("whole step") and line.unit == "ms"]
    flops, moved = (sum(getattr(part, name) for part in counted.values()) for name in ("flops", "bytes"))
    assert max(flops / 828e12, moved / 4.8e12) <= least / 1e3 <= flops / 828e12 + moved / 4.8e12
