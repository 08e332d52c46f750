"""Images of any size: tiles give what the whole image does, within the memory that is allowed."""

from __future__ import annotations

import copy
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from crrn.errors import ConfigError, DataError
from crrn.inference.memory import bytes_per_pixel
from crrn.inference.predictor import Predictor
from crrn.inference.tiles import smallest, tile_size, windows
from crrn.nets import CRRN, Prediction
from crrn.nets.prediction import set_prediction
from crrn.solvers import SOLVERS


@pytest.fixture(scope="module")
def network() -> CRRN:
    """A narrow CRRN whose every weight matters."""
    torch.manual_seed(0)
    network = CRRN(0.03).eval()
    torch.nn.init.normal_(network.iin.head[-1].weight, std=0.05)  # type: ignore[arg-type]
    return network


def smooth(height: int, width: int) -> Tensor:
    """A picture with large and small structure."""
    generator = torch.Generator().manual_seed(1)
    picture = torch.zeros(1, 3, height, width)
    for step in (4, 16, 64):
        coarse = torch.rand(1, 3, height // step + 2, width // step + 2, generator=generator)
        picture += F.interpolate(coarse, (height, width), mode="bilinear") / 3
    return picture


def resized(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """A float plane by Pillow's bicubic filter, antialiased."""
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("size", "tile", "overlap"), [(1000, 544, 320), (6000, 1088, 320), (641, 640, 64), (99, 99, 9)]
)
def test_windows_cover_every_pixel_with_weight_1(size: int, tile: int, overlap: int) -> None:
    total = torch.zeros(size)
    cover = windows(size, tile, overlap)
    for window in cover:
        assert window.stop - window.start <= tile and window.start % 32 == 0
        assert window.weight.min() >= 0
        total[window.start : window.stop] += window.weight
        # context at both ends, but at the image's own border
        margin = int(0.375 * overlap) - 1
        assert window.start == 0 or (window.weight[:margin] == 0).all()
        assert window.stop == size or (window.weight[-margin:] == 0).all()
    torch.testing.assert_close(total, torch.ones(size))
    assert all(one.stop - other.start >= overlap for one, other in pairwise(cover))


@pytest.mark.parametrize(("height", "width"), [(4000, 6000), (600, 20000), (700, 700)])
def test_tiles_keep_within_their_pixels(height: int, width: int) -> None:
    for pixels in (0.6e6, 1.3e6, 5e6):
        rows, columns = tile_size(height, width, pixels, 320)
        assert rows * columns <= pixels
        assert min(rows, columns) >= min(smallest(320), height, width)


def test_a_pixel_is_felt_up_to_306_pixels_away(network: CRRN) -> None:
    """The reach that the overlap is chosen by: NaN spreads exactly as far as anything can.

    It depends on where a pixel lies on the grid of 32: next to a tile, which begins and ends on it, it is 281.
    """
    for row, up, down in ((352, 281, 280), (351, 280, 281), (377, 306, 287), (358, 287, 306)):
        picture = torch.rand(1, 3, 704, 32)
        picture[..., row, 10] = float("nan")
        with torch.no_grad():
            touched = network(picture).background.isnan().any(1).any(-1)[0].nonzero()
        assert (row - int(touched[0]), int(touched[-1]) - row) == (up, down)


def test_tiles_are_the_whole_image_where_the_overlap_covers_the_reach(network: CRRN) -> None:
    picture = smooth(90, 1500)
    whole = Predictor(network, tile=2000)(picture)
    tiled = Predictor(network, tile=960, overlap=768)(picture)
    assert len(windows(1500, 960, 768)) > 1
    for layer, other in zip(whole, tiled, strict=True):
        assert layer is not None and other is not None and layer.shape[-2:] == (90, 1500)
        torch.testing.assert_close(other, layer, rtol=0, atol=1e-5)


def test_seams_are_invisible_with_the_default_overlap(network: CRRN) -> None:
    picture = smooth(530, 1000)
    whole = Predictor(network, tile=2000)(picture).background
    assert whole is not None
    removed = (whole - picture).abs().max()
    assert removed > 0.02

    def seam(**options: int) -> Tensor:
        tiled = Predictor(network, **options)(picture).background
        assert tiled is not None
        return (tiled - whole).abs().max()

    assert seam(tile=576) < 0.5 / 255
    # what blending without context would leave
    assert seam(tile=576, overlap=32) > 2 * seam(tile=576)


def test_the_identity_is_exact_and_leaves_the_image_alone() -> None:
    predictor = Predictor(SOLVERS["identity"](), tile=576)
    picture = torch.randint(0, 65536, (1, 3, 700, 1234)) / 65535  # levels of 16 bits
    before = picture.clone()
    background = predictor(picture).background
    assert background is not None
    assert torch.equal((background * 65535).round(), (picture * 65535).round())
    small = picture[..., :50, :60] * 3 - 1
    again = Predictor(SOLVERS["identity"]())(small).background
    assert again is not None and torch.equal(again, small.clamp(0, 1))
    assert torch.equal(picture, before) and small.min() < 0


def test_an_ensemble_is_the_mean_over_flips_and_turns(network: CRRN) -> None:
    picture = smooth(64, 96)
    estimate = Predictor(network, self_ensemble=True)(picture).background
    expected = torch.zeros_like(picture)
    with torch.no_grad():
        for flipped in (False, True):
            for k in range(4):
                turned = torch.rot90(picture.flip(-1) if flipped else picture, k, (2, 3))
                back = torch.rot90(network(turned).background, -k, (2, 3))
                expected += (back.flip(-1) if flipped else back) / 8
    torch.testing.assert_close(estimate, expected.clamp(0, 1), atol=1e-6, rtol=0)
    assert (estimate - network(picture).background).abs().max() > 1e-3


def test_a_network_is_run_folded_and_stays_as_it_was(network: CRRN) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    predictor = Predictor(network)
    estimate = predictor(picture := smooth(64, 96)).background
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in predictor.remover.modules())
    with torch.no_grad():
        expected = network(picture).background.clamp(0, 1)
    torch.testing.assert_close(estimate, expected, atol=1e-5, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_bf16_changes_little(network: CRRN) -> None:
    picture = smooth(64, 96)
    exact = Predictor(network)(picture).background
    assert exact is not None
    half = Predictor(network, precision="bf16")(picture).background
    assert half is not None and half.dtype == torch.float32
    assert 0 < (half - exact).abs().max() < 0.02


def test_a_network_with_a_working_size_sees_a_small_copy(network: CRRN) -> None:
    """The correction by hand, with Pillow's resizing; its memory is that of the copy."""
    picture = smooth(100, 150)
    own = copy.deepcopy(network)
    set_prediction(own, Prediction(working_size=64, strength=50))
    predictor = Predictor(own, memory=1e-9)
    background, reflection, gradient = predictor(picture)
    small = torch.from_numpy(np.stack([resized(plane, 64, 96) for plane in picture[0].numpy()])).clamp(0, 1)[None]
    with torch.no_grad():
        estimate, reflected, _ = network(small)
    change = np.stack([resized(plane, 100, 150) for plane in (estimate.clamp(0, 1) - small)[0].numpy()])
    full = (picture[0].numpy() + change).clip(0, 1)
    assert np.abs(full - picture[0].numpy()).max() > 0.02
    np.testing.assert_allclose(background[0].numpy(), (full + picture[0].numpy()) / 2, rtol=0, atol=1e-4)
    layer = np.stack([resized(plane, 100, 150) for plane in reflected.clamp(0, 1)[0].numpy()]).clip(0, 1)
    np.testing.assert_allclose(reflection[0].numpy(), layer, rtol=0, atol=1e-4)
    assert gradient.shape == (1, 1, 100, 150)


def test_a_chosen_working_size_and_strength_win(network: CRRN) -> None:
    picture = smooth(100, 150)
    own = copy.deepcopy(network)
    set_prediction(own, Prediction(working_size=64, strength=50))
    native = Predictor(own, working_size="native", strength=100)(picture).background
    assert native is not None and torch.equal(native, Predictor(network)(picture).background)
    assert torch.equal(Predictor(network, working_size=100)(picture).background, native)  # the photo's own size
    small = Predictor(network, working_size=64)(picture).background
    assert small is not None and (small - native).abs().max() > 1e-3
    stronger = Predictor(network, strength=150)(picture).background
    torch.testing.assert_close(stronger, (1.5 * native - 0.5 * picture).clamp(0, 1), rtol=0, atol=1e-6)
    assert torch.equal(Predictor(network, strength=0)(picture).background, picture)


def test_progress_goes_up_to_1(network: CRRN) -> None:
    told: list[float] = []
    Predictor(network, tile=576)(smooth(64, 1200), told.append)
    assert len(told) > 2 and told == sorted(told) and told[-1] == 1
    told.clear()
    Predictor(SOLVERS["lb14"]())(smooth(32, 32), told.append)
    assert len(told) > 2 and told == sorted(told) and told[-1] == 1


def test_less_memory_means_smaller_tiles(network: CRRN) -> None:
    full = CRRN.__new__(CRRN)
    torch.nn.Module.__init__(full)
    full.widths = 1.0, 1.0
    assert Predictor(full, memory=60).tile_for(4000, 6000) == (4000, 6000)
    rows, columns = Predictor(full, memory=6).tile_for(4000, 6000)
    assert rows * columns * bytes_per_pixel(full) < 6e9 and rows < 4000
    assert Predictor(network).tile_for(100, 100) == (100, 100)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"memory": 0}, "memory=0"),
        ({"memory": "much"}, "memory=much"),
        ({"overlap": 0}, "overlap=0"),
        ({"tile": 320}, "576 or more"),
        ({"precision": "fp16"}, "precision=fp16"),
        ({"working_size": 8}, "working_size=8"),
        ({"strength": 200}, "strength=200"),
        ({"layers": ["gradient"]}, "no gradient"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Predictor(SOLVERS["yl19"](), **options)  # type: ignore[arg-type]


def test_wrong_images_are_named(network: CRRN) -> None:
    for wrong in (torch.rand(3, 8, 8), torch.rand(2, 3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(DataError, match="cannot be predicted"):
            Predictor(network)(wrong)
    with pytest.raises(DataError, match="not finite"):
        Predictor(network)(torch.full((1, 3, 32, 32), float("nan")))


MEASURE = """
import re, sys, torch
from crrn.nets import CRRN, Prediction
from crrn.nets.prediction import set_prediction
from crrn.solvers import SOLVERS
from crrn.inference.memory import bytes_per_pixel, used
from crrn.inference.predictor import Predictor
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
torch.set_num_threads(1)
for remover, height in ((SOLVERS["yl19"](), 1920), (Predictor(CRRN(0.25).eval()).remover, 960)):
    with torch.inference_mode():
        remover(torch.rand(1, 3, 256, 256))
        image = torch.rand(1, 3, height, 640)
        open("/proc/self/clear_refs", "w").write("5")
        before = used(torch.device("cpu"))
        remover(image)
    print((peak() - before) / (height * 640) / bytes_per_pixel(remover))
# an image that would take 0.5 GB whole, with 0.3 GB allowed
image = torch.rand(1, 3, 1400, 1400)
open("/proc/self/clear_refs", "w").write("5")
before = used(torch.device("cpu"))
predictor = Predictor(CRRN(0.1).eval(), memory=(before + 0.3e9) / 1e9)
assert predictor.tile_for(1400, 1400) != (1400, 1400)
predictor(image)
print((peak() - before) / 0.3e9)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's peak from /proc")
def test_memory_is_as_measured_and_kept_within() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=False)
    if "PermissionError" in done.stderr:
        pytest.skip("this system does not let a process reset its peak")
    assert done.returncode == 0, done.stderr
    *shares, tiled = [float(line) for line in done.stdout.split()]
    assert len(shares) == 2 and all(0.5 < share < 1.25 for share in shares), shares
    assert 0.3 < tiled < 1, tiled
