"""The web page as its user meets it: the command, its server, and the page in a real browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from crrn.nets import save_network
from crrn.webpage.examples import make_examples
from tests.conftest import write_photo
from tests.integration.conftest import ROOT
from tests.integration.server import PATIENCE, Demo, started
from tests.networks import lively
from tests.resources import BROWSER, BROWSER_ARGUMENTS

pytest.importorskip("gradio_client", reason="the extra `web` is not installed")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The page with the network that ships, the identity and a small network, for the tests of this file."""
    folder = tmp_path_factory.mktemp("demo")
    save_network(lively("crrn"), folder / "small.safetensors")
    with started(
        folder, f"removers=[crrn-small,identity,{folder / 'small.safetensors'}]", "max_upload_mb=2"
    ) as running:
        yield running


def asked(demo: Demo, *data: Any, to: str = "remove") -> str:
    """The answer of one of the page's functions, as the server's event stream."""
    with httpx.Client(base_url=demo.address, timeout=PATIENCE, trust_env=False) as client:
        event = client.post(f"/gradio_api/call/{to}", json={"data": data}).raise_for_status().json()["event_id"]
        return client.get(f"/gradio_api/call/{to}/{event}").text


def uploaded(demo: Demo, name: str, content: bytes) -> httpx.Response:
    with httpx.Client(base_url=demo.address, timeout=PATIENCE, trust_env=False) as client:
        return client.post("/gradio_api/upload", files={"files": (name, content)})


def file_data(path: str, name: str) -> dict[str, Any]:
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def test_a_photo_through_the_api(demo: Demo, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    write_photo(tmp_path / "window.png", 1, 70, 90)
    client = Client(
        demo.address,
        verbose=False,
        download_files=str(tmp_path / "results"),
        analytics_enabled=False,
        httpx_kwargs={"timeout": PATIENCE},
    )
    try:
        (before, after), _, gradient, download, note = client.predict(
            handle_file(tmp_path / "window.png"), "identity", 100, api_name="/remove"
        )
        assert Path(before).suffix == Path(after).suffix == ".webp"
        assert note.startswith("90 × 70 pixels, identity, ")
        with Image.open(value_of(download)) as written, Image.open(tmp_path / "window.png") as given:
            assert np.array_equal(np.asarray(written), np.asarray(given))
        assert value_of(gradient) is None
        *_, gradient, _, note = client.predict(handle_file(tmp_path / "window.png"), "small", 100, api_name="/remove")
        with Image.open(value_of(gradient)) as picture:
            assert picture.size == (90, 70)
    finally:
        client.close()


def test_twenty_photos_at_once(demo: Demo, tmp_path: Path) -> None:
    write_photo(tmp_path / "window.jpg", 3, 60, 80)
    content = (tmp_path / "window.jpg").read_bytes()

    def one(number: int) -> str:
        path = uploaded(demo, f"window{number}.jpg", content).raise_for_status().json()[0]
        return asked(demo, file_data(path, f"window{number}.jpg"), "small", 100)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(20)))
    for number, answer in enumerate(answers):
        assert "event: complete" in answer and f"window{number}-background.jpg" in answer, answer[-500:]


def test_several_photos_in_one_go(demo: Demo, tmp_path: Path) -> None:
    write_photo(tmp_path / "window.jpg", 3, 60, 80)
    good = uploaded(demo, "window.jpg", (tmp_path / "window.jpg").read_bytes()).json()[0]
    bad = uploaded(demo, "<b>poem.jpg", b"I am a poem.").json()[0]
    files = [file_data(good, "window.jpg"), file_data(good, "window.jpg"), file_data(bad, "<b>poem.jpg")]
    answer = asked(demo, files, "identity", 100, to="remove_many")
    assert "event: complete" in answer and "2 of 3 photos, identity" in answer and "poem.jpg" in answer
    assert "without-reflections.zip" in answer and "<b>" not in answer.partition("2 of 3 photos")[2]
    assert "Drop some photos first." in asked(demo, None, "identity", 100, to="remove_many")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("host=0.0.0.0",), "host=0.0.0.0"),
        (("host=0.0.0.0", "auth=me"), "auth"),
        (("auth=:secret",), "auth"),
    ],
)
def test_other_machines_need_a_password(
    settings: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from crrn.cli.demo import main

    monkeypatch.setattr(sys, "argv", ["crrn-demo", *settings])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert said in capfd.readouterr().err


@pytest.mark.slow
def test_the_password_is_asked_for(tmp_path: Path) -> None:
    with (
        started(tmp_path, "removers=[identity]", "auth=me:secret, too") as running,
        httpx.Client(base_url=running.address, timeout=PATIENCE, trust_env=False) as client,
    ):
        assert client.get("/config").status_code == 401
        assert client.post("/gradio_api/upload", files={"files": ("a.jpg", b"x")}).status_code == 401
        assert client.post("/login", data={"username": "me", "password": "wrong"}).status_code == 400
        assert client.post("/login", data={"username": "me", "password": "secret, too"}).status_code == 200
        assert client.get("/config").status_code == 200


def value_of(update: Any) -> Any:
    """A component's value, as it is or within an update of its properties."""
    return update.get("value") if isinstance(update, dict) else update


def test_wrong_files_are_one_sentence(demo: Demo) -> None:
    path = uploaded(demo, "poem.jpg", b"I am a poem.").json()[0]
    answer = asked(demo, file_data(path, "poem.jpg"), "identity", 100)
    assert "event: error" in answer and "poem.jpg" in answer and "Traceback" not in answer
    assert "Drop a photo first." in asked(demo, None, "identity", 100)
    assert uploaded(demo, "large.jpg", bytes(3_000_000)).status_code == 413


def test_the_servers_other_files_are_not_given_away(demo: Demo, tmp_path: Path) -> None:
    write_photo(tmp_path / "private.jpg", 5)
    answer = asked(demo, file_data(str(tmp_path / "private.jpg"), "private.jpg"), "identity", 100)
    assert "event: error" in answer and "webp" not in answer
    for path in (tmp_path / "private.jpg", ROOT / "pyproject.toml"):
        assert httpx.get(f"{demo.address}/gradio_api/file={path}", trust_env=False).status_code in (403, 404)


def test_a_port_that_is_taken(demo: Demo, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from crrn.cli.demo import main

    monkeypatch.setattr(sys, "argv", ["crrn-demo", f"port={demo.address.rpartition(':')[2]}"])
    with pytest.raises(SystemExit, match="1"):
        main()
    said = capfd.readouterr().err
    assert said.startswith("error: ") and "port=" in said and said.count("\n") == 1


@pytest.mark.slow
@pytest.mark.browser
def test_the_page_in_a_browser(demo: Demo, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    write_photo(tmp_path / "window.jpg", 4, 120, 160)
    (tmp_path / "poem.jpg").write_text("I am a poem.")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=list(BROWSER_ARGUMENTS))
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        asked_for: list[str] = []
        page.on("request", lambda request: asked_for.append(request.url))
        page.goto(demo.address)
        action = page.get_by_role("button", name="Remove the reflection")
        action.click()
        page.get_by_text("Drop a photo first.").wait_for()

        page.locator("input[type=file]").first.set_input_files(tmp_path / "window.jpg")
        page.locator("img[src*='window.jpg']").first.wait_for()
        page.get_by_label("Model").click()
        page.get_by_role("option", name="small: Your network").click()
        page.wait_for_function("document.querySelector('input[type=range]').value == '100'")  # the network's own
        action.click()
        page.get_by_text("160 × 120 pixels, small").wait_for()
        for name in ("before.webp", "after-100.webp", "reflection.webp", "gradient.webp"):
            image = page.locator(f"img[src*='{name}']").first
            image.wait_for()
            assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 160
        with page.expect_download() as downloading:
            page.get_by_role("button", name="Download at full resolution").click()
        assert downloading.value.suggested_filename == "window-background.jpg"
        with Image.open(downloading.value.path()) as picture:
            assert picture.size == (160, 120)
        # another strength is shown and downloaded without computing again
        page.get_by_role("slider", name="range slider for Strength: 0 is the photo").focus()
        page.keyboard.press("Home")
        page.keyboard.up("Home")
        page.locator("img[src*='after-0.webp']").first.wait_for()

        # wrong files are said on the page; a phone shows it without scrolling sideways
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(demo.address)
        page.locator("input[type=file]").first.set_input_files(tmp_path / "poem.jpg")
        page.get_by_text("No preview of this kind of file").or_(page.locator("img[src*='poem.jpg']")).first.wait_for()
        page.get_by_role("button", name="Remove the reflection").click()
        page.get_by_text("poem.jpg").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        (tmp_path / "large.jpg").write_bytes(bytes(3_000_000))
        page.get_by_role("tab", name="Several photos").click()
        page.locator("input[type=file]").last.set_input_files(tmp_path / "large.jpg")
        page.get_by_text("exceeds the maximum").or_(page.get_by_text("maximum allowed size")).first.wait_for()
        browser.close()
    abroad = [url for url in asked_for if not url.startswith((demo.address, "data:", "blob:"))]
    assert not abroad  # no font, script or counter from elsewhere


@pytest.mark.slow
@pytest.mark.browser
def test_the_pictures_of_the_documentation(demo: Demo, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The page with its examples: at the start, with a result, in the dark, with several photos, on a phone.

    ``make screenshots`` keeps the pictures in docs/images.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    kept = pytestconfig.getoption("screenshots")
    folder = pytestconfig.rootpath / kept if kept else tmp_path
    examples = make_examples(tmp_path)
    assert len(examples) == 3

    def opened(browser: Any, width: int, **more: Any) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 800}, **more)
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(demo.address)
        page.wait_for_function("document.querySelectorAll('button.gallery-item img').length == 3")
        return page

    def with_result(page: Any) -> Any:
        page.locator("button.gallery-item").first.click()
        page.locator("#photo img[src*='china-with-chelsea']").first.wait_for()
        page.get_by_role("button", name="Remove the reflection").click()
        page.get_by_text("640 × 427 pixels, crrn-small").wait_for()
        for name in ("after-60.webp", "reflection.webp", "gradient.webp"):
            page.locator(f"img[src*='{name}']").first.evaluate("image => image.decode()")
        return page

    def taken(page: Any, name: str) -> tuple[int, int, float]:
        """Width and height of the picture, and the median grey of the page."""
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)  # buttons fade
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.screenshot(path=folder / name, type="jpeg", quality=80, full_page=True, animations="disabled")
        page.close()
        with Image.open(folder / name) as picture:
            return *picture.size, float(np.median(np.asarray(picture.convert("L"))))

    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=list(BROWSER_ARGUMENTS))
        start = taken(opened(browser, 1180), "webpage_start.jpg")
        result = taken(with_result(opened(browser, 1180)), "webpage.jpg")
        dark = taken(with_result(opened(browser, 1180, color_scheme="dark")), "webpage_dark.jpg")
        phone = taken(with_result(opened(browser, 390)), "webpage_phone.jpg")
        page = opened(browser, 1180)
        page.get_by_role("tab", name="Several photos").click()
        page.locator("input[type=file]").last.set_input_files(examples)
        page.get_by_text("coffee-with-grace_hopper").first.wait_for()
        page.get_by_role("button", name="Remove all reflections").click()
        page.get_by_text("3 of 3 photos, crrn-small").wait_for()
        page.wait_for_function(
            "[...document.querySelectorAll('#gallery img')].filter(i => i.complete && i.naturalWidth).length == 3"
        )
        gallery = taken(page, "webpage_gallery.jpg")
        browser.close()
    assert [one[0] for one in (start, result, dark, gallery, phone)] == [1180] * 4 + [390]
    assert min(start[2], result[2]) > 200 and dark[2] < 60  # the theme follows the browser's
    assert phone[1] > result[1] > start[1]
