"""``crrn demo``: the web page, on this machine."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from crrn.cli.command import run
from crrn.errors import ConfigError, RunError

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Hosts that only this machine reaches."""


def main() -> None:
    """The command. Exits with status 1 if it failed."""
    run("demo", demo, ("auth",))


def demo(
    *,
    removers: list[Any],
    solvers: bool,
    host: str,
    port: int,
    open_browser: bool,
    max_megapixels: float,
    max_upload_mb: int,
    auth: str | None,
    device: str,
) -> None:
    """Serves the page until it is interrupted; the parameters are the keys of ``conf/demo.yaml``."""
    if not isinstance(removers, list):
        raise ConfigError(f"removers={removers} is not a list: give removers=[{removers}].")
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("The web page needs Gradio: pip install 'crrn[web]'.")

    login = check_login(host, auth)
    check_port(host, port)
    with tempfile.TemporaryDirectory(prefix="crrn-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")

        logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio asks its own server whether it has started

        from crrn.catalogue import default_model, models, untrained_methods
        from crrn.removers import choose_device
        from crrn.webpage.examples import make_examples
        from crrn.webpage.page import launch, make_page
        from crrn.webpage.studio import Studio

        offered = removers or [one.name for one in models() if one.name not in untrained_methods()] or [default_model()]
        offered = offered + [name for name in untrained_methods() if solvers and name not in offered]
        results, examples = Path(folder) / "results", Path(folder) / "examples"
        results.mkdir()
        examples.mkdir()
        studio = Studio(offered, results, max_megapixels, choose_device(device))
        page = make_page(studio, make_examples(examples))
        address = launch(page, host, port, max_upload_mb, open_browser, login)
        print(f"The demo is at {address} (Ctrl+C ends it).", flush=True)
        if host not in LOCAL:
            print(f"host={host}: everyone who reaches this machine and has the password can use it.", flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the photos are removed then, too
        page.block_thread()


def check_login(host: str, auth: str | None) -> tuple[str, str] | None:
    """The user and password of ``auth=USER:PASSWORD``; None where the page asks for none.

    Raises:
        ConfigError: ``auth`` is not of this form, or the page would be open to other machines without it.
    """
    if auth is None and host not in LOCAL:
        raise ConfigError(
            f"host={host} would open the page to everyone who reaches this machine: set a password, as in "
            "auth=user:password."
        )
    if auth is None:
        return None
    user, _, password = str(auth).partition(":")
    if not user or not password:
        raise ConfigError("auth is not USER:PASSWORD: give both, as in auth=user:password.")
    return user, password


def check_port(host: str, port: int) -> None:
    """Raises a RunError where a server could not listen, before all that takes time."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except (OSError, OverflowError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"Port {port} of {host} cannot be used ({reason}): give another, as in port=7861.") from error


if __name__ == "__main__":
    main()
