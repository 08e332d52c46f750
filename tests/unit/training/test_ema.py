import pytest
import torch

from crrn.errors import ConfigError
from crrn.training.ema import EMA


def test_the_decay_warms_up_to_its_value():
    ema = EMA(0.9)
    average = torch.tensor([0.0])
    expected = 0.0
    for updates in range(1, 200):
        decay = min(0.9, (1 + updates) / (10 + updates))
        expected = decay * expected + (1 - decay) * updates
        ema._average([average], [torch.tensor([float(updates)])], torch.tensor(updates))
        assert average.item() == pytest.approx(expected, rel=1e-5)
    # a constant 0.9 from the start would end at the same place: 200 steps forget how it began
    assert 189 < average.item() < 191


def test_counters_are_copied():
    counter = torch.tensor([3])
    EMA(0.9)._average([counter], [torch.tensor([5])], torch.tensor(1))
    assert counter.item() == 5


@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5, "much"])
def test_a_decay_out_of_range_is_refused(decay: object):
    with pytest.raises(ConfigError, match="ema_decay"):
        EMA(decay)
