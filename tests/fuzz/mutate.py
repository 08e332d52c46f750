"""Seeded changes of bytes, of plain values, and of the formats that checksums protect."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

ODD_BYTES = (0, 1, 0x7F, 0x80, 0xFF)
ODD_NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Rng = np.random.Generator


def mutated(rng: Rng, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The content after one to eight changes, mostly few; parts of others may be put in."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        CHANGES[rng.integers(len(CHANGES))](rng, data, others)
    return bytes(data)


def _place(rng: Rng, data: bytearray) -> int:
    """Headers are at the beginning: half of all changes are there."""
    end = min(len(data), 256) if rng.random() < 0.5 else len(data)
    return int(rng.integers(max(1, end)))


def _flip(rng: Rng, data: bytearray, others: Sequence[bytes]) -> None:
    if data:
        data[_place(rng, data)] ^= 1 << int(rng.integers(8))


def _set(rng: Rng, data: bytearray, others: Sequence[bytes]) -> None:
    if data:
        data[_place(rng, data)] = rng.choice(ODD_BYTES)


def _number(rng: Rng, data: bytearray, others: Sequence[bytes]) -> None:
    kind = ("<H", ">H", "<I", ">I")[rng.integers(4)]
    size, at = struct.calcsize(kind), _place(rng, data)
    if at + size <= len(data):
        data[at : at + size] = struct.pack(kind, int(rng.choice(ODD_NUMBERS)) % 256**size)


def _delete(rng: Rng, data: bytearray, others: Sequence[bytes]) -> None:
    at = _place(rng, data)
    del data[at : at + int(rng.integers(1, 64))]


def _repeat(rng: Rng, data: bytearray, others: Sequence[bytes]) -> None:
    at, size = _place(rng, data), int(rng.integers(1, 512))
    data[at:at] = data[at : at + size]


def _insert(rng: Rng, data: bytearray, others: Sequence[bytes]) -> None:
    at = _place(rng, data)
    data[at:at] = rng.bytes(int(rng.integers(1, 64)))


def _cut(rng: Rng, data: bytearray, others: Sequence[bytes]) -> None:
    if rng.random() < 0.3:  # more than that would leave little to read
        del data[int(rng.integers(len(data) + 1)) :]


def _splice(rng: Rng, data: bytearray, others: Sequence[bytes]) -> None:
    if others:
        other = others[rng.integers(len(others))]
        at, start, size = _place(rng, data), int(rng.integers(len(other))), int(rng.integers(1, 1024))
        data[at : at + size] = other[start : start + size]


CHANGES = (_flip, _set, _number, _delete, _repeat, _insert, _cut, _splice)


def with_png_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold: without, a reader looks at nothing that was changed."""
    data, at = bytearray(content), 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        if at + 12 + size > len(data):
            break
        struct.pack_into(">I", data, at + 8 + size, zlib.crc32(data[at + 4 : at + 8 + size]))
        at += 12 + size
    return bytes(data)


ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    float("nan"),
    float("inf"),
    10**30,
    "",
    "x" * 5000,
    "\ud800",
    "../../../x",
    "/etc/passwd",
    "a\nb\0c",
    "os.system",
    [],
    {},
    [[]],
    {"_target_": "os.system"},
    ["a"] * 3,
)


def mutated_value(rng: Rng, value: Any) -> Any:
    """A copy of plain values in which one to three nodes are odd, gone, doubled or renamed."""
    value = copy.deepcopy(value)
    for _ in range(rng.integers(1, 4)):
        nodes = _nodes(value)
        if not nodes or rng.random() < 0.02:
            return copy.deepcopy(ODD_VALUES[rng.integers(len(ODD_VALUES))])
        parent, key = nodes[rng.integers(len(nodes))]
        kind = rng.integers(6)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[f"{key}_"] = parent.pop(key)
        elif kind == 2 and isinstance(parent, list):
            parent.append(parent[key])
        else:
            parent[key] = copy.deepcopy(ODD_VALUES[rng.integers(len(ODD_VALUES))])
    return value


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found += [(value, key), *_nodes(value[key])]
    return found


def mutated_json(rng: Rng, content: bytes) -> bytes:
    """JSON with odd values, or broken as text."""
    if rng.random() < 0.1:
        return b"[" * 100_000 + content
    if rng.random() < 0.3:
        return mutated(rng, content)
    return json.dumps(mutated_value(rng, json.loads(content))).encode()
