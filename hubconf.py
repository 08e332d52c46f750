"""For torch.hub: ``torch.hub.load(FOLDER, "crrn", source="local")``."""

import sys
from pathlib import Path

dependencies = ["cv2", "numpy", "PIL", "safetensors", "torch", "torchvision"]

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))


def crrn(weights=None, width=1.0):
    """CRRN in evaluation mode: from a mixture (N, 3, H, W) in [0, 1] to Layers(background, reflection, gradient).

    Args:
        weights: a .safetensors or .ckpt file or a folder of crrn's, or a model on the Hugging Face hub, OWNER/NAME;
            None gives the untrained network, whose background is its input.
        width: of the untrained network; trained ones bring their own.
    """
    from crrn.inference.hub import from_pretrained
    from crrn.nets import CRRN

    return from_pretrained(weights) if weights is not None else CRRN(width).eval()
