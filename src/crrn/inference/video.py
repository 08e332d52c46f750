"""Videos, frame by frame, in constant memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from crrn.errors import ConfigError, DataError
from crrn.inference.photo import MAX_MEGAPIXELS, Photo
from crrn.inference.predictor import Predictor
from crrn.inference.steady import SteadyBrightness

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Suffixes, and FFmpeg's names of what is written for them."""

CODECS: Mapping[str, tuple[str, dict[str, str]]] = {
    "webm": ("libvpx-vp9", {"crf": "20", "b:v": "0", "row-mt": "1"}),
    "other": ("libx264", {"crf": "16", "preset": "medium"}),
}
"""Encoders; these qualities are hard to tell from the original."""

_BT709, _UNKNOWN, _BT601 = 1, 2, 5
_LIMITED = 1
_HIGH_DYNAMIC_RANGE = (16, 18)

log = logging.getLogger("crrn")


def predict_video(
    predictor: Predictor,
    source: Path,
    files: Mapping[str, IO[bytes]],
    progress: Callable[[int, int], object] | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> None:
    """Run a remover over a video's frames, and write the video anew with its sound copied.

    The frames keep their times. They become H.264 (VP9 in .webm) of 8 bits. A rotation that the file asks of players is
    applied. `SteadyBrightness` keeps the background's brightness from flickering. Only a few frames are in memory at a
    time.

    Args:
        predictor: estimates the layers asked for.
        source: .mp4, .m4v, .mov, .mkv or .webm.
        files: where each of "background", "reflection", "side_by_side" is written to, open and seekable; "background"
            is always among them.
        progress: called as progress(done, of) with numbers of frames.
        max_megapixels: the largest frame that is decoded.

    Raises:
        ConfigError: PyAV is not installed (the extra `video`).
        DataError: the video cannot be read, is torn, has high dynamic range, or its container takes not its sound.
    """
    try:
        import av
    except ImportError as error:
        raise ConfigError("Videos need PyAV: pip install 'crrn[video]'.") from error
    try:
        with av.open(str(source)) as container:
            if not container.streams.video:
                raise DataError(f"{source} holds no pictures.")
            stream = container.streams.video[0]
            size = stream.codec_context.width * stream.codec_context.height
            if size > max_megapixels * 1e6:
                raise DataError(
                    f"{source} has frames of {size / 1e6:.0f} megapixels: raise max_megapixels if so meant."
                )
            if stream.codec_context.color_trc in _HIGH_DYNAMIC_RANGE:
                raise DataError(f"{source} has high dynamic range, which would be lost: convert it to SDR.")
            _convert(av, container, stream, predictor, files, CONTAINERS[source.suffix.lower()], progress)
    except av.FFmpegError as error:
        raise DataError(
            f"{source} cannot be read as a video, or not to its end ({error.strerror or error})."
        ) from error


def _convert(
    av: Any,
    container: Any,
    stream: Any,
    predictor: Predictor,
    files: Mapping[str, IO[bytes]],
    kind: str,
    progress: Callable[[int, int], object] | None,
) -> None:
    stream.thread_type = "AUTO"
    sounds = list(container.streams.audio)
    writers: dict[str, _Writer] = {}
    steady = SteadyBrightness()
    rate = stream.average_rate or Fraction(25)
    total = stream.frames or int((container.duration or 0) / av.time_base * rate)
    done, before, heard, waiting = 0, None, 0.0, []
    for packet in container.demux(stream, *sounds):
        if packet.stream is not stream:
            # Sound that comes before the first frame waits for the writers, which need the frame's size.
            waiting.append(packet)
            heard = max(heard, float((packet.pts or 0) * (packet.time_base or 0)))
        else:
            for frame in packet.decode():
                mixture, colours = _mixture(frame)
                time = float(frame.time) if frame.time is not None else done / float(rate)
                layers = predictor(mixture)._asdict()
                layers["background"] = steady(mixture, layers["background"], time - before if before is not None else 0)
                layers["side_by_side"] = torch.cat((mixture, layers["background"]), dim=-1)
                for layer, file in files.items():
                    if layer not in writers:
                        height, width = layers[layer].shape[-2:]
                        writers[layer] = _Writer(av, file, kind, container, stream, sounds, (height, width), colours)
                        writers[layer].shape_pixels(stream.sample_aspect_ratio, _turns(frame))
                    writers[layer].add(layers[layer], frame.pts, done)
                done, before = done + 1, time
                if progress is not None:
                    progress(done, max(total, done))
        if writers:
            for sound in waiting:
                for writer in writers.values():
                    writer.copy(sound)
            waiting = []
    seconds = (container.duration or 0) / av.time_base
    reached = max(heard, before or 0) - (container.start_time or 0) / av.time_base
    if done == 0 or done < 0.9 * stream.frames or reached < 0.9 * seconds - 1 / rate:
        raise DataError(
            f"{container.name} is torn: {done} of {stream.frames or round(seconds * rate) or 'its'} frames can be "
            "decoded; copy or export it again."
        )
    if done < stream.frames:
        log.warning("%s: %d of %d frames could be decoded", container.name, done, stream.frames)
    for writer in writers.values():
        writer.close()
    if progress is not None and done != total:
        progress(done, done)


def _mixture(frame: Any) -> tuple[Tensor, int]:
    """A frame as removers take it, upright, and the matrix of its colours."""
    colours = int(frame.colorspace)
    if colours not in (_BT709, _BT601, 6, 9):
        colours = _BT709 if frame.height >= 720 else _BT601
    turns = _turns(frame)
    if not frame.format.is_rgb:
        # From half the colour resolution straight to RGB FFmpeg rounds down: the picture would darken by a level.
        frame = frame.reformat(format="yuv444p", src_colorspace=colours, dst_colorspace=colours)
    rgb = frame.reformat(format="rgb24", src_colorspace=colours, dst_colorspace=colours).to_ndarray()
    return Photo(np.ascontiguousarray(np.rot90(rgb, turns))).mixture(), colours


def _turns(frame: Any) -> int:
    """Quarters to the left that a player is asked to turn a frame by."""
    return round(getattr(frame, "rotation", 0) / 90) % 4


class _Writer:
    """One video that is being written."""

    def __init__(
        self,
        av: Any,
        file: IO[bytes],
        kind: str,
        source: Any,
        stream: Any,
        sounds: list[Any],
        size: tuple[int, int],
        colours: int,
    ) -> None:
        self.av = av
        self.colours = colours
        self.blank = Photo(np.empty((*size, 3), np.uint8))
        self.container = av.open(file, "w", format=kind)
        self.container.metadata.update(source.metadata)
        codec, options = CODECS.get(kind, CODECS["other"])
        rate = stream.average_rate or Fraction(25)
        self.stream = self.container.add_stream(codec, rate=rate, options=dict(options))
        self.stream.height, self.stream.width = size
        # Half the colour resolution needs even sides.
        self.stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        self.base = stream.time_base or 1 / rate
        self.rate = rate
        context = self.stream.codec_context
        context.time_base = self.base
        context.colorspace, context.color_range = colours, _LIMITED
        context.color_primaries = stream.codec_context.color_primaries
        context.color_trc = stream.codec_context.color_trc
        self.sounds = {sound.index: self.container.add_stream_from_template(sound) for sound in sounds}

    def shape_pixels(self, ratio: Fraction | None, turns: int) -> None:
        """Notes the pixels' width over their height, where they are not square."""
        if ratio:
            self.stream.codec_context.sample_aspect_ratio = 1 / ratio if turns % 2 else ratio

    def add(self, image: Tensor, pts: int | None, number: int) -> None:
        """Encodes a frame, (1, 3, H, W) in [0, 1]."""
        rgb = self.av.VideoFrame.from_ndarray(self.blank.with_pixels(image).pixels, format="rgb24")
        frame = rgb.reformat(
            format=self.stream.pix_fmt,
            src_colorspace=self.colours,
            dst_colorspace=self.colours,
            dst_color_range=_LIMITED,
        )
        frame.pts = pts if pts is not None else round(number / self.rate / self.base)
        frame.time_base = self.base
        self.container.mux(self.stream.encode(frame))

    def copy(self, packet: Any) -> None:
        """Copies a packet of sound as it is."""
        if packet.dts is not None:  # the packet that flushes a decoder holds nothing
            stream, packet.stream = packet.stream, self.sounds[packet.stream.index]
            times = packet.pts, packet.dts, packet.time_base
            self.container.mux(packet)
            packet.stream = stream
            packet.pts, packet.dts, packet.time_base = times

    def close(self) -> None:
        """Writes what the encoder holds back, and the file's end."""
        self.container.mux(self.stream.encode())
        self.container.close()
