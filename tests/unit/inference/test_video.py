"""Videos: frames, times and sound are kept, and the brightness does not flicker."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crrn.errors import DataError
from crrn.inference.predictor import Predictor
from crrn.inference.steady import SteadyBrightness
from crrn.inference.video import predict_video
from crrn.layers import Layers
from crrn.solvers import SOLVERS

av = pytest.importorskip("av")

FRAMES = 10


def frame(number: int, height: int, width: int) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[:height, :width]
    waves = (np.sin(x / 15 + number / 5), np.sin(y / 11), np.sin((x + y) / 20))
    return np.stack([128 + 60 * wave for wave in waves], axis=-1).astype(np.uint8)


def clip(path: Path, height: int = 48, width: int = 64, codec: str = "libx264", sound: str = "aac") -> Path:
    """Ten frames at 10 a second with a gap after the fifth, and a tone."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(codec, rate=10)
        pictures.height, pictures.width, pictures.pix_fmt = height, width, "yuv420p"
        tone = container.add_stream(sound, rate=48000, layout="mono")
        for number in range(FRAMES):
            picture = av.VideoFrame.from_ndarray(frame(number, height, width), "rgb24")
            picture.pts, picture.time_base = number + 3 * (number > 4), Fraction(1, 10)
            container.mux(pictures.encode(picture))
        size = tone.codec_context.frame_size or 960
        wave = 0.3 * np.sin(np.arange(48000, dtype=np.float32) * 440 * 2 * np.pi / 48000)[None]
        for start in range(0, 48000 - size, size):
            part = av.AudioFrame.from_ndarray(wave[:, start : start + size].copy(), "fltp", "mono")
            part.sample_rate, part.pts, part.time_base = 48000, start, Fraction(1, 48000)
            container.mux(tone.encode(part))
        container.mux(pictures.encode())
        container.mux(tone.encode())
    return path


def contents(path: Path) -> tuple[list[np.ndarray[Any, Any]], list[float], list[bytes]]:
    """The frames, their times, and the packets of sound."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        pictures = [one.to_ndarray(format="rgb24") for one in frames]
        times = [float(one.time) for one in frames]
    with av.open(str(path)) as container:
        sound = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    return pictures, times, sound


class Darker(nn.Module):
    """Takes a tenth of the light away, and notes the sizes that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def forward(self, mixture: Tensor) -> Layers:
        self.seen.add(tuple(mixture.shape[-2:]))
        return Layers(mixture - 0.1)


def test_frames_go_through_the_working_size(tmp_path: Path) -> None:
    source, target, remover = clip(tmp_path / "in.mp4", 96, 128), tmp_path / "out.mp4", Darker()
    with target.open("wb") as file:
        predict_video(Predictor(remover, working_size=32, strength=50), source, {"background": file})
    assert (32, 64) in remover.seen and (96, 128) not in remover.seen  # 32x43, padded to multiples of 32
    for before, after in zip(contents(source)[0], contents(target)[0], strict=True):
        assert abs((before.astype(int) - after).mean() - 0.05 * 255) < 1


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"),
    [(".mp4", "libx264", "aac"), (".mkv", "libx264", "aac"), (".webm", "libvpx-vp9", "libopus")],
)
def test_frames_times_and_sound_are_kept(tmp_path: Path, suffix: str, codec: str, sound: str) -> None:
    source, target = clip(tmp_path / f"in{suffix}", codec=codec, sound=sound), tmp_path / f"out{suffix}"
    told: list[tuple[int, int]] = []
    with target.open("wb") as file, (tmp_path / f"both{suffix}").open("wb") as both:
        files = {"background": file, "side_by_side": both}
        predict_video(Predictor(SOLVERS["identity"]()), source, files, lambda done, of: told.append((done, of)))
    before, times, tone = contents(source)
    after, times_after, tone_after = contents(target)
    assert len(after) == FRAMES and told[-1] == (FRAMES, FRAMES)
    assert times_after == pytest.approx(times, abs=2e-3)
    assert tone_after == tone
    for one, other in zip(before, after, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 3
    wide, *_ = contents(tmp_path / f"both{suffix}")
    assert wide[0].shape == (48, 128, 3)
    assert np.abs(wide[0][:, :64].astype(int) - wide[0][:, 64:]).mean() < 3


def test_sides_may_be_odd(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 33, 47, "yuv444p"
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(number, 33, 47), "rgb24")))
        container.mux(stream.encode())
    with (tmp_path / "out.mkv").open("wb") as file:
        predict_video(Predictor(SOLVERS["identity"]()), source, {"background": file})
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [one.to_ndarray(format="rgb24").shape for one in container.decode(video=0)] == [(33, 47, 3)] * 3


def test_torn_and_foreign_videos_are_refused_in_one_sentence(tmp_path: Path) -> None:
    whole = clip(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "torn.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("not a film\n" * 100)
    whole = clip(tmp_path / "whole.mkv").read_bytes()  # which does not say how many frames there are
    (tmp_path / "torn.mkv").write_bytes(whole[: len(whole) // 3])
    for name in ("torn.mp4", "torn.mkv", "text.mp4"):
        with (tmp_path / f"out{name[-4:]}").open("wb") as file, pytest.raises(DataError, match=name) as error:
            predict_video(Predictor(SOLVERS["identity"]()), tmp_path / name, {"background": file})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("pixels", ["yuvj420p", "yuv420p10le"])
def test_the_brightness_is_kept(tmp_path: Path, pixels: str) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1" if pixels.endswith("le") else "mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = 96, 128, pixels
        for number in range(3):
            picture = av.VideoFrame.from_ndarray(frame(number, 96, 128), "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    given = np.mean([frame(number, 96, 128) for number in range(3)], axis=(0, 1, 2))
    with (tmp_path / "out.mkv").open("wb") as file:
        predict_video(Predictor(SOLVERS["identity"]()), source, {"background": file})
    with av.open(str(tmp_path / "out.mkv")) as container:
        frames = [one.reformat(format="yuv444p").to_rgb().to_ndarray() for one in container.decode(video=0)]
    assert np.abs(np.mean(frames, axis=(0, 1, 2)) - given).max() < 0.8


def turned(content: bytes) -> bytes:
    """An MP4 whose pictures a player is to turn by a quarter: the matrix of its first track."""
    at = content.index(b"tkhd") + 4 + 40  # after version, times, number, duration, layer, volume
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    return content[:at] + matrix + content[at + 36 :]


def test_turned_videos_become_upright_and_pixels_keep_their_shape(tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        picture = frame(0, 48, 64)
        picture[:20, :20] = (250, 0, 0)  # the corner that a quarter to the right brings to the top right
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    path.write_bytes(turned(path.read_bytes()))
    with (tmp_path / "out.mp4").open("wb") as file:
        predict_video(Predictor(SOLVERS["identity"]()), path, {"background": file})
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(3, 4)
        first = next(container.decode(video=0))
        upright = first.to_ndarray(format="rgb24")
        assert first.rotation == 0 and upright.shape == (64, 48, 3)
    assert np.abs(upright.astype(int) - np.rot90(picture, -1)).mean() < 6


class Flickering(nn.Module):
    """Takes away now more, now less light."""

    estimates = ("background",)

    def __init__(self) -> None:
        super().__init__()
        self.frame = 0

    def forward(self, mixture: Tensor) -> Layers:
        self.frame += 1
        return Layers(background=mixture * 0.8 - 0.1 * (self.frame % 2))


def test_the_remover_may_flicker_the_video_does_not(tmp_path: Path) -> None:
    source, target = clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    with target.open("wb") as file:
        predict_video(Predictor(Flickering()), source, {"background": file})
    means = np.array([one.mean() for one in contents(target)[0]])
    ideal = np.array([one.mean() for one in contents(source)[0]])
    jumps = np.abs(np.diff(means - ideal))
    jumps[4] = 0  # the gap in time
    # unsteadied, neighbours differ by 0.1 of 255
    assert jumps.max() < 0.25 * 25.5


def test_the_cameras_own_changes_and_cuts_pass() -> None:
    steady = SteadyBrightness()
    scene = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.2
    steady(scene, scene * 0.9, 0.0)
    brighter = scene + 0.05
    torch.testing.assert_close(steady(brighter, brighter - 0.1 * scene, 0.04), brighter - 0.1 * scene)
    other = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(1)) * 0.2
    torch.testing.assert_close(steady(other, other * 0.5, 0.04), other * 0.5)
