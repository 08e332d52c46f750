"""The Hugging Face hub, played by a server on this machine that speaks the little of its language that is needed."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from tests.networks import lively

import crrn
from crrn.errors import CheckpointError, RunError
from crrn.inference.hub import push_to_hub

constants = pytest.importorskip("huggingface_hub.constants", reason="the extra `hub` is not installed")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Keeps repositories in memory: their files, and whether they are private."""

    repositories: dict[str, dict[str, bytes]]
    private: dict[str, bool]
    refuses = False

    def do_HEAD(self) -> None:
        self.give_file(with_content=False)

    def do_GET(self) -> None:
        self.give_file(with_content=True)

    def give_file(self, with_content: bool) -> None:
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        content = self.repositories.get(repository, {}).get(rest.partition("/")[2])
        if content is None:
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            return
        digest = hashlib.sha1(content).hexdigest()
        self.answer(
            200, content if with_content else b"", {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}, len(content)
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.refuses:
            self.answer(403, b'{"error": "You may not do this"}')
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.repositories.setdefault(name, {})
            self.private[name] = asked.get("private", asked.get("visibility") == "private")
            self.answer(200, json.dumps({"url": f"http://{self.headers['Host']}/{name}", "name": name}).encode())
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.answer(200, json.dumps({"files": files}).encode())
        elif "/commit/" in self.path:
            name = self.path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(
                200,
                json.dumps(
                    {"commitUrl": f"http://{self.headers['Host']}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
                ).encode(),
            )
        else:
            self.answer(200, b'{"errors": [], "warnings": []}')

    def answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    """An empty hub, which huggingface_hub takes for the real one."""
    handler = type("ThisHub", (Hub,), {"repositories": {}, "private": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = "{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{template}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield handler
        server.shutdown()
        thread.join()


def test_pushed_and_loaded_again(hub: type[Hub], tmp_path: Path) -> None:
    network = lively("gin")
    folder = crrn.save_pretrained(network, tmp_path / "net")
    (folder / "secret.txt").write_text("not for others")
    address = push_to_hub(folder, ["model.safetensors", "config.json"], "someone/gin")
    assert address.endswith("someone/gin")
    assert hub.private == {"someone/gin": True}
    assert sorted(hub.repositories["someone/gin"]) == ["config.json", "model.safetensors"]
    assert json.loads(hub.repositories["someone/gin"]["config.json"])["_target_"] == "crrn.nets.GiN"
    loaded = crrn.from_pretrained("someone/gin")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())


def test_a_pickle_on_the_hub_is_not_opened(hub: type[Hub], tmp_path: Path) -> None:
    torch.save({"weight": torch.rand(3)}, tmp_path / "pickle")
    hub.repositories["stranger/net"] = {"model.safetensors": (tmp_path / "pickle").read_bytes()}
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        crrn.from_pretrained("stranger/net")


def test_what_the_hub_does_not_have(hub: type[Hub]) -> None:
    with pytest.raises(CheckpointError, match="nobody/nothing"):
        crrn.from_pretrained("nobody/nothing")


def test_a_push_that_is_refused(hub: type[Hub], tmp_path: Path) -> None:
    hub.refuses = True
    folder = crrn.save_pretrained(lively("gin"), tmp_path / "net")
    with pytest.raises(RunError, match=r"someone/gin.*`hf auth login`"):
        push_to_hub(folder, ["model.safetensors"], "someone/gin")
