"""The page itself, in Gradio."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before Gradio is imported: nobody is told that it is used.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr

from crrn.errors import CrrnError
from crrn.webdemo.studio import KEEP_SECONDS, Studio

TITLE = "Remove a reflection"
ACTION = "Remove the reflection"
WAITING = 20
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
footer { display: none !important; }
"""


def make_page(studio: Studio, examples: Sequence[Path] = ()) -> gr.Blocks:
    """The page on a studio; `launch` serves it."""

    def remove(path: str | None, label: str, progress: Any = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        if not path:
            raise gr.Error("Drop a photo first.", title="No photo", print_exception=False)
        progress(0, desc=label)
        try:
            result = studio.remove(Path(path), label, lambda fraction: progress(fraction, desc=label))
        except CrrnError as error:
            raise gr.Error(_sentence(error), title="That did not work", print_exception=False) from error
        height, width = result.size
        return (
            (str(result.before), str(result.after)),
            _layer(result.reflection),
            _layer(result.gradient),
            gr.DownloadButton(value=str(result.download), visible=True),
            f"{width} × {height} pixels, {label}, {result.seconds:.1f} s",
        )

    with gr.Blocks(title=f"{TITLE} · crrn", analytics_enabled=False, delete_cache=(KEEP_SECONDS, KEEP_SECONDS)) as page:
        gr.Markdown(
            f"# {TITLE}\nFor photos taken through glass. Everything happens on this machine: no photo leaves it.",
            elem_id="head",
        )
        with gr.Row():
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
                choice = gr.Dropdown(list(studio.removers), value=next(iter(studio.removers)), label="Remover")
                button = gr.Button(ACTION, variant="primary", size="lg")
                if examples:
                    gr.Examples([[str(path)] for path in examples], [photo], label="Examples (made mixtures)")
            with gr.Column(scale=3, min_width=360):
                slider = gr.ImageSlider(
                    label="Before | after", interactive=False, max_height=520, height=430, buttons=["fullscreen"]
                )
                with gr.Row(equal_height=True):
                    reflection = _layer_image("Reflection")
                    gradient = _layer_image("Gradient")
                with gr.Row(equal_height=True):
                    note = gr.Markdown(elem_id="note")
                    download = gr.DownloadButton("Download at full resolution", visible=False)
        button.click(
            remove,
            [photo, choice],
            [slider, reflection, gradient, download, note],
            api_name="remove",
            show_progress_on=[slider],
            concurrency_limit=1,
        )
    page.queue(max_size=WAITING, default_concurrency_limit=1)
    return page


def launch(page: gr.Blocks, host: str, port: int, max_upload_mb: int = 100, open_browser: bool = False) -> str:
    """Serve the page in the background, to this machine alone unless `host` says otherwise; gives its address."""
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        inbrowser=open_browser,
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
    )
    return str(address)


def _layer_image(label: str) -> gr.Image:
    return gr.Image(label=label, interactive=False, visible=False, height=200, buttons=["fullscreen"])


def _layer(path: Path | None) -> Any:
    return gr.Image(value=str(path), visible=True) if path else gr.Image(value=None, visible=False)


def _sentence(error: CrrnError) -> str:
    text = html.escape(str(error), quote=False)  # a file's name may hold anything, and the page would render it
    return text if text.endswith((".", "!", "?")) else f"{text}."
