import numpy as np
import torch

from crrn.layers import Layers
from crrn.mixing import Mixture
from crrn.training.panels import CELL_WIDTH, GAP, HEADER, draw_panel, panel_rows


def batch(height: int, width: int) -> Mixture:
    return Mixture(*torch.rand(3, 2, 3, height, width))


def test_a_panel_shows_the_seven_pictures_in_their_places():
    mixtures = batch(64, CELL_WIDTH)
    gradient = torch.rand(2, 1, 64, CELL_WIDTH)
    target = Layers(mixtures.background, mixtures.reflection, gradient)
    rows = panel_rows(mixtures, Layers(mixtures.mixture, mixtures.reflection, gradient), target)
    labels = [label.split("  ")[0] for label, _ in rows[0]]
    assert labels == ["I", "B est.", "B", "R est.", "R", "dB est.", "dB"]
    sheet = np.asarray(draw_panel(rows))
    assert sheet.shape == (2 * (64 + HEADER) + GAP, 7 * (CELL_WIDTH + GAP) + GAP, 3)
    for row in range(2):
        for column, picture in ((0, mixtures.mixture), (2, mixtures.background), (5, gradient)):
            top, left = row * (64 + HEADER) + HEADER, GAP + column * (CELL_WIDTH + GAP)
            shown = sheet[top : top + 64, left : left + CELL_WIDTH].astype(int)
            expected = (picture[row].permute(1, 2, 0).numpy() * 255).round().astype(int)
            assert np.array_equal(shown, np.broadcast_to(expected, shown.shape))


def test_layers_that_are_not_estimated_are_left_out():
    mixtures, gradient = batch(32, 48), torch.rand(2, 1, 32, 48)
    rows = panel_rows(mixtures, Layers(gradient=gradient), Layers(mixtures.background, mixtures.reflection, gradient))
    assert [label.split("  ")[0] for label, _ in rows[0]] == ["I", "dB est.", "dB"]


def test_a_panel_says_where_the_reflection_is_unknown():
    mixtures = batch(32, 48)._replace(reflection_known=torch.tensor([True, False]))
    layers = Layers(mixtures.background, mixtures.reflection)
    rows = panel_rows(mixtures, layers, layers)
    assert [row[-1][0] for row in rows] == ["R", "R unknown"]
