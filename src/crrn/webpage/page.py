"""The page itself, in Gradio."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Before Gradio is imported: nobody is told that it is used.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr

from crrn.errors import CrrnError
from crrn.private import PATIENT_LAUNCH
from crrn.webpage.studio import KEEP_SECONDS, Studio

TITLE = "Remove a reflection"
ACTION = "Remove the reflection"
WAITING = 40
"""Photos that may wait while one is worked on."""

CSS = """
.gradio-container { width: 100% !important; max-width: 1180px !important; margin: 0 auto !important; }
#head h1 { font-size: 1.9rem; font-weight: 650; letter-spacing: -0.02em; margin: 1.2rem 0 0.1rem; }
#head p { color: #475569; margin: 0 0 0.6rem; }
.dark #head p { color: var(--body-text-color-subdued); }
#note { color: var(--body-text-color-subdued); min-height: 1.5rem; }
#photo img::after {  /* of TIFF, HEIC and what is no photo: drawn only where the browser cannot show it */
  content: "No preview of this kind of file here. The button works all the same.";
  position: absolute; inset: 0 0 40px; display: flex; align-items: center; justify-content: center; text-align: center;
  padding: 1rem; background: var(--block-background-fill); color: var(--body-text-color); pointer-events: none;
}
#model input { text-overflow: ellipsis; padding-right: 2rem; }  /* the arrow stands there */
.gradio-container button[role=tab] { color: #475569; }
.dark .gradio-container button[role=tab] { color: var(--body-text-color-subdued); }
.gradio-container button[role=tab][aria-selected=true] { color: var(--body-text-color) !important; font-weight: 600; }
.dark input[type=range] { --neutral-200: var(--neutral-700); }  /* else the empty part is the brightest */
@media (max-width: 640px) { #compare { height: 300px !important; min-height: 0 !important; } }
footer { display: none !important; }
"""


def make_page(studio: Studio, examples: Sequence[Path] = ()) -> gr.Blocks:
    """The page on a studio; `launch` serves it."""

    def remove(path: str | None, label: str, strength: float, progress: Any = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        if not path:
            raise gr.Error("Drop a photo first.", title="No photo", print_exception=False)
        progress(0, desc=label)
        with _as_message():
            result = studio.remove(Path(path), label, lambda fraction: progress(fraction, desc=label), strength)
        height, width = result.size
        brightened = f", brightened {result.brightened:.1f}x" if result.brightened > 1.05 else ""
        return (
            (str(result.before), str(result.after)),
            _layer(result.reflection, f"Reflection{brightened}"),
            _layer(result.gradient, "Gradient"),
            gr.DownloadButton(value=str(result.download), visible=True),
            f"{width} × {height} pixels, {label}, {result.seconds:.1f} s",
            str(result.folder),
        )

    def strengthen(folder: str | None, strength: float) -> tuple[Any, ...]:
        if folder is None:  # nothing to change yet
            return gr.skip(), gr.skip()
        with _as_message():
            after, download = studio.strengthen(Path(folder), strength)
        before = Path(folder) / "before.webp"
        return (str(before), str(after)), gr.DownloadButton(value=str(download), visible=True)

    def remove_many(
        paths: list[str] | None,
        label: str,
        strength: float,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        if not paths:
            raise gr.Error("Drop some photos first.", title="No photos", print_exception=False)
        with _as_message():
            results, archive, problems = studio.remove_many(
                [Path(path) for path in paths], label, lambda fraction: progress(fraction, desc=label), strength
            )
        note = "\n\n".join([f"{len(results)} of {len(paths)} photos, {label}", *map(_escaped, problems)])
        return (
            [(str(path), name) for path, name in results],
            gr.DownloadButton(value=str(archive) if archive else None, visible=archive is not None),
            note,
        )

    first = next(iter(studio.removers))
    choices = [(f"{label}: {studio.about(label)}", label) for label in studio.removers]
    with gr.Blocks(title=f"{TITLE} · crrn", analytics_enabled=False, delete_cache=(KEEP_SECONDS, KEEP_SECONDS)) as page:
        gr.Markdown(
            f"# {TITLE}\nFor photos taken through glass. Everything happens on this machine: no photo leaves it.",
            elem_id="head",
        )
        with gr.Row():
            choice = gr.Dropdown(choices, value=first, label="Model", scale=3, min_width=300, elem_id="model")
            strength = gr.Slider(
                0, 150, studio.strengths[first], step=5, label="Strength: 0 is the photo", scale=2, min_width=240
            )
        folder = gr.State(None)
        with gr.Tab("One photo"), gr.Row():
            with gr.Column(scale=2, min_width=300):
                photo = gr.Image(
                    label="Photo",
                    type="filepath",
                    sources=["upload", "clipboard"],
                    height=300,
                    buttons=["fullscreen"],
                    elem_id="photo",
                )
                # Gradio would decode the file; crrn.inference does, keeps all of it, and says what is wrong with it.
                photo.preprocess = lambda payload: payload.path if payload else None  # type: ignore[method-assign]
                button = gr.Button(ACTION, variant="primary", size="lg")
                if examples:
                    gr.Examples([[str(path)] for path in examples], [photo], label="Examples (made mixtures)")
            with gr.Column(scale=3, min_width=360):
                slider = gr.ImageSlider(
                    label="Before | after",
                    interactive=False,
                    max_height=520,
                    height=430,
                    buttons=["fullscreen"],
                    elem_id="compare",
                )
                with gr.Row(equal_height=True):
                    reflection = _layer_image("Reflection")
                    gradient = _layer_image("Gradient")
                with gr.Row(equal_height=True):
                    note = gr.Markdown(elem_id="note")
                    download = gr.DownloadButton("Download at full resolution", visible=False)
        with gr.Tab("Several photos"):
            photos = gr.File(label="Photos", file_count="multiple", type="filepath", height=230)
            several = gr.Button("Remove all reflections", variant="primary", size="lg")
            gallery = gr.Gallery(
                label="Without reflections", columns=4, height="auto", interactive=False, elem_id="gallery"
            )
            with gr.Row(equal_height=True):
                several_note = gr.Markdown()
                archive = gr.DownloadButton("Download all", visible=False)
        # All that computes stands in one line: photos are worked on one after the other.
        button.click(
            remove,
            [photo, choice, strength],
            [slider, reflection, gradient, download, note, folder],
            api_name="remove",
            show_progress_on=[slider],
            concurrency_limit=1,
            concurrency_id="model",
        )
        several.click(
            remove_many,
            [photos, choice, strength],
            [gallery, archive, several_note],
            api_name="remove_many",
            show_progress_on=[gallery],
            concurrency_limit=1,
            concurrency_id="model",
        )
        inner: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": 2}
        strength.input(strengthen, [folder, strength], [slider, download], trigger_mode="always_last", **inner)
        choice.change(lambda label: studio.strengths[label], [choice], [strength], show_progress="hidden", **inner)
    page.queue(max_size=WAITING, default_concurrency_limit=2)
    return page


def launch(
    page: gr.Blocks,
    host: str,
    port: int,
    max_upload_mb: int = 100,
    open_browser: bool = False,
    auth: tuple[str, str] | None = None,
) -> str:
    """Serve the page in the background; gives its address.

    Args:
        page: the page.
        host, port: where it listens.
        max_upload_mb: larger files are refused while they are received.
        open_browser: show it.
        auth: the user and the password that the page asks for.
    """
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        inbrowser=open_browser,
        auth=auth,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        footer_links=[],
        max_file_size=f"{max_upload_mb}mb",
        theme=gr.themes.Base(
            primary_hue="slate",
            neutral_hue="slate",
            font=["system-ui", "sans-serif"],  # none that would be fetched
            font_mono=["ui-monospace", "monospace"],
        ),
        css=CSS,
        **PATIENT_LAUNCH,
    )
    return str(address)


def _layer_image(label: str) -> gr.Image:
    return gr.Image(label=label, interactive=False, visible=False, height=200, buttons=["fullscreen"])


def _layer(path: Path | None, label: str) -> Any:
    return gr.Image(value=str(path), visible=True, label=label) if path else gr.Image(value=None, visible=False)


@contextmanager
def _as_message() -> Iterator[None]:
    """An error within becomes a message on the page."""
    try:
        yield
    except CrrnError as error:
        raise gr.Error(_sentence(error), title="That did not work", print_exception=False) from error


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)  # a file's name may hold anything, and the page would render it


def _sentence(error: CrrnError) -> str:
    text = _escaped(str(error))
    return text if text.endswith((".", "!", "?")) else f"{text}."
