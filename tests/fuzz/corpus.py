"""The whole files that broken ones are made from."""

from __future__ import annotations

import functools
import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from crrn.nets import CRRN, CEILNet, GiN, record_of
from crrn.nets.weights import network_bytes

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"><xmp:Label>a</xmp:Label></rdf:Description></rdf:RDF>'
    b'</x:xmpmeta><?xpacket end="w"?>'
)


def pixels(channels: int, bits: int = 8, height: int = 33, width: int = 47) -> np.ndarray[Any, Any]:
    """Smooth colours with some noise."""
    rng = np.random.default_rng(channels + bits)
    y, x, c = np.mgrid[:height, :width, :channels]
    values = (0.5 + 0.4 * np.sin(x / 9 + c) * np.cos(y / 7) + rng.normal(0, 0.02, x.shape)).clip(0, 1)
    picture = (values * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    return picture[..., 0] if channels == 1 else picture


def exif() -> bytes:
    """An EXIF block with all that is looked at."""
    block = Image.Exif()
    block[ExifTags.Base.Make] = "Maker"
    block[ExifTags.Base.Orientation] = 6
    details = block.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight] = 47, 33
    details[ExifTags.Base.MakerNote] = b"note"
    block.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    return block.tobytes()


def saved(picture: np.ndarray[Any, Any] | Image.Image, kind: str, **options: Any) -> bytes:
    """A file by Pillow."""
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


@functools.cache
def photos(kind: str) -> list[bytes]:
    """Photos of a format, in its variants."""
    rich: dict[str, Any] = {"exif": exif(), "icc_profile": ICC}
    colour, grey, alpha = pixels(3), pixels(1), pixels(4)
    if kind == "jpeg":
        cmyk = Image.fromarray(colour).convert("CMYK")
        return [
            saved(colour, "JPEG", xmp=XMP, dpi=(300, 300), **rich),
            saved(colour, "JPEG", progressive=True, subsampling=2, **rich),
            saved(grey, "JPEG"),
            saved(cmyk, "JPEG", quality=80),
            saved(colour, "MPO", save_all=True, append_images=[Image.fromarray(colour)]),
        ]
    if kind == "png":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        deep = [cv2.imencode(".png", pixels(channels, 16))[1].tobytes() for channels in (1, 3, 4)]
        palette = Image.fromarray(colour).quantize(16)
        return [
            saved(colour, "PNG", pnginfo=text, dpi=(300, 300), **rich),
            saved(alpha, "PNG"),
            saved(grey, "PNG", transparency=3),
            saved(palette, "PNG", transparency=1),
            saved(Image.fromarray(grey).convert("1"), "PNG"),
            *deep,
        ]
    if kind == "webp":
        return [
            saved(colour, "WEBP", xmp=XMP, **rich),
            saved(colour, "WEBP", lossless=True, **rich),
            saved(alpha, "WEBP", quality=50),
            saved(colour, "WEBP"),
        ]
    if kind == "tiff":
        import tifffile

        def tiff(picture: np.ndarray[Any, Any], **options: Any) -> bytes:
            file = io.BytesIO()
            tifffile.imwrite(file, picture, **options)
            return file.getvalue()

        return [
            saved(colour, "TIFF", exif=exif(), icc_profile=ICC, tiffinfo={700: XMP}, dpi=(300, 300)),
            *(saved(colour, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")),
            saved(Image.fromarray(grey).convert("1"), "TIFF", compression="group4"),
            saved(alpha, "TIFF", compression="packbits"),
            tiff(pixels(1, 16), photometric="miniswhite"),
            tiff(pixels(3, 16), photometric="rgb"),
            tiff(pixels(4, 16), photometric="rgb", extrasamples=["assocalpha"]),
            tiff(pixels(3, 16), photometric="rgb", bigtiff=True),
            tiff(pixels(3, 8), photometric="rgb", tile=(16, 16)),
        ]
    if kind == "bmp":
        return [
            saved(colour, "BMP", dpi=(300, 300)),
            saved(grey, "BMP"),
            saved(Image.fromarray(grey).convert("1"), "BMP"),
            cv2.imencode(".bmp", alpha)[1].tobytes(),
        ]
    if kind == "avif":
        small = {"quality": 60, "speed": 10}
        return [saved(colour, "AVIF", xmp=XMP, **rich, **small), saved(alpha, "AVIF", **small)]
    from pillow_heif import register_heif_opener

    register_heif_opener()
    return [saved(colour, "HEIF", xmp=XMP, **rich), saved(alpha, "HEIF"), saved(grey, "HEIF")]


@functools.cache
def weights() -> list[bytes]:
    """Networks as safetensors."""
    torch.manual_seed(0)
    networks = [GiN(0.03), CRRN(0.03), CEILNet(0.03)]
    return [*map(network_bytes, networks), network_bytes(networks[0], torch.int8)]


def checkpoint() -> dict[str, Any]:
    """What a training checkpoint holds."""
    torch.manual_seed(0)
    network = GiN(0.03)
    state = {f"net.{name}": value for name, value in network.state_dict().items()}
    return {
        "epoch": 1,
        "global_step": 20,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "callbacks": {"Checkpoints": {"best": 0.5, "metrics": {"val/gradient_si": 0.5}}},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}],
        "lr_schedulers": [],
        "crrn": {"net": record_of(network)},
    }


def torch_file(value: Any) -> bytes:
    """A value as torch writes it."""
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


MEMBERS = {"Postcard/1/m.jpg": b"mixture" * 50, "Postcard/1/g.jpg": b"background", "notes.txt": b"notes" * 300}


@functools.cache
def archives() -> list[bytes]:
    """Archives of every kind, one with archives in it."""
    made = [zipped(MEMBERS), *(tarred(MEMBERS, mode) for mode in ("w", "w:gz", "w:bz2", "w:xz"))]
    return [*made, zipped({"inner.zip": made[0], "inner.tar.gz": made[2]})]


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members: dict[str, bytes], mode: str) -> bytes:
    """A tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@functools.cache
def run_directory() -> dict[str, bytes]:
    """The files of a finished run, by their paths in its folder."""
    config = {
        "net": {"_target_": "crrn.nets.GiN", "width": 0.03, "head": "additive"},
        "data": {"batches": {"samples_per_epoch": 10, "batch_size": 2}},
        "stages": {"order": ["gin"], "gin": {"epochs": 2}},
        "ablation": "none",
    }
    session = {
        "started": "2026-01-01T00:00:00+00:00",
        "command": ["train.py", "name=x"],
        "git": {"commit": "0123456789abcdef", "dirty": True},
        "python": "3.12.0",
        "machine": "Linux x86_64, 2 cores",
        "versions": {"torch": "2.15.0"},
    }
    counts = {"source": "photos", "training": 8, "held_out": 2, "left_out": 0}
    data = {"background": counts, "reflection": counts, "fingerprint": "f" * 16}
    curves = "step,train/loss,val/gradient_si,val/identity_gradient_si\n5,1.5,,\n10,0.5,0.8,0.7\n"
    metrics = {"val/gradient_si": 0.8, "val/identity_gradient_si": 0.7}
    return {
        "run.json": json.dumps({"config": config, "sessions": [session], "data": data}).encode(),
        "summary.json": json.dumps(metrics).encode(),
        "weights.safetensors": weights()[0],
        "gin/metrics.csv": curves.encode(),
        "gin/result.json": json.dumps(metrics).encode(),
        "gin/last.ckpt": torch_file(checkpoint()),
        "gin/previous.ckpt": torch_file(checkpoint()),
        "gin/weights.safetensors": weights()[0],
        "gin/panels/panel-epoch0002.png": photos("png")[0],
    }


def safetensors_header(content: bytes) -> tuple[dict[str, Any], bytes]:
    """A safetensors file's header and what follows it."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def with_header(header: Any, rest: bytes) -> bytes:
    """A safetensors file of a header and what follows it."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def record(folder: Path) -> bytes:
    """A predictions.jsonl of three results in a folder of a case."""
    lines = []
    for name in ("1.png", "2.png", "2_reflection.png"):
        stamps = {"input_bytes": 100, "input_changed_ns": 1, "output_bytes": 120, "output_changed_ns": 2}
        lines.append({"output": name, "input": str(folder / name), "settings": "0123456789abcdef", **stamps})
    return b"".join(b"\n" + json.dumps(line).encode() + b"\n" for line in lines)
