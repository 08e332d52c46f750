"""Reading what an offline W&B run has written: its records, from the log file that ``wandb sync`` would upload."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as pb

BLOCK, HEADER = 32768, 7


def records(path: Path) -> Iterator[Any]:
    """The records of a ``run-*.wandb`` file: LevelDB's log format (blocks of 32 KiB; checksum, length and kind before
    each chunk; kinds full, first, middle, last) with protocol buffers in it."""
    content = path.read_bytes()
    at, message = 7, b""  # W&B's own file header
    while at + HEADER <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        message += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):
            record = pb.Record()
            record.ParseFromString(message)
            yield record
            message = b""


class OfflineRun:
    """One offline run: its identity, config, logged rows, summary, artifacts, and how it ended."""

    def __init__(self, folder: Path) -> None:
        (path,) = folder.glob("run-*.wandb")
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.metrics: list[Any] = []
        self.artifacts: list[Any] = []
        self.exit_code: int | None = None
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "history":
                self.rows.append(merged({}, record.history.item))
            elif kind == "summary":
                merged(self.summary, record.summary.update)
            elif kind == "metric":
                self.metrics.append(record.metric)
            elif kind == "artifact":
                self.artifacts.append(record.artifact)
            elif kind == "exit":
                self.exit_code = record.exit.exit_code

    def logged(self, key: str) -> list[Any]:
        return [row[key] for row in self.rows if key in row]


def merged(into: dict[str, Any], items: Any) -> dict[str, Any]:
    """Puts values at their places, which W&B gives as a key or as a path of keys."""
    for item in items:
        *path, last = item.nested_key or [item.key]
        place = into
        for key in path:
            place = place.setdefault(key, {})
        place[last] = json.loads(item.value_json)
    return into
