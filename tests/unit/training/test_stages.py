from functools import partial

import lightning.pytorch as L
import pytest
from omegaconf import OmegaConf

from crrn.cli.config import build, config_folder
from crrn.errors import ConfigError
from crrn.training import Logging, standard_callbacks
from crrn.training.trainers import cluster, open_trainer


def test_the_run_and_not_lightning_goes_on_after_slurm_stopped_it(monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "NTASKS": "1",
        "JOB_NAME": "x",
        "JOB_ID": "1",
        "PROCID": "0",
        "LOCALID": "0",
        "NODEID": "0",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    trainer = open_trainer(
        partial(L.Trainer, accelerator="cpu", devices=1, strategy="ddp"), logger=False, plugins=cluster()
    )
    environment = trainer.strategy.cluster_environment
    assert type(environment).__name__ == "SLURMEnvironment" and not environment.auto_requeue


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"devices": "many"}, "trainer"),
        ({"precision": "17"}, "Precision '17'"),
        ({"max_epochs": 3}, "trainer.max_epochs"),
    ],
)
def test_settings_that_the_trainer_cannot_take_are_refused(settings: dict, words: str):
    with pytest.raises(ConfigError, match=words):
        open_trainer(partial(L.Trainer, accelerator="cpu", **settings), max_epochs=1)


@pytest.mark.parametrize("name", ["metrics_every_n_steps", "checkpoint_every_n_steps", "panel_images"])
def test_intervals_are_whole_numbers(name: str):
    for value in (-1, 1.5, "2"):
        with pytest.raises(ConfigError, match=f"logging.{name}"):
            Logging(**{name: value})


def test_the_standard_callbacks_are_those_of_the_config():
    node = OmegaConf.load(config_folder() / "callbacks" / "default.yaml")
    settings = OmegaConf.merge({"ema_decay": 0.9, "logging": vars(Logging(metrics_every_n_steps=3))}, node)
    built = [build(OmegaConf.to_container(settings, resolve=True)[key], key) for key in node]
    standard = standard_callbacks(Logging(metrics_every_n_steps=3), 0.9)()
    assert [type(callback) for callback in built] == [type(callback) for callback in standard]
    assert [getattr(callback, "every_n_steps", None) for callback in built] == [
        getattr(callback, "every_n_steps", None) for callback in standard
    ]
