"""trainer=gpu: what it sets, and that it needs a GPU."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from crrn.cli.config import config_folder, register_resolvers
from crrn.errors import ConfigError
from crrn.training.devices import refuse_missing_gpu, use_tf32


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_trainer_gpu_sets_what_is_fast_there(optimizer: str) -> None:
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        plain = compose("train", [f"optimizer={optimizer}"])
        gpu = compose("train", ["trainer=gpu", f"optimizer={optimizer}", "experiment=demo"])
        own = compose("train", ["trainer=gpu", "channels_last=false", "tf32=false", "trainer.precision=32-true"])
    assert gpu.trainer.keys() == plain.trainer.keys()
    assert gpu.trainer.accelerator == "gpu" and gpu.trainer.precision == "bf16-mixed" and not gpu.trainer.benchmark
    assert gpu.channels_last and gpu.tf32 and gpu.optimizer.fused
    assert (own.channels_last, own.tf32, own.trainer.precision) == (False, False, "32-true")


def test_a_missing_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {CUDAAccelerator: False, MPSAccelerator: False}
    for accelerator in found:
        monkeypatch.setattr(accelerator, "is_available", lambda accelerator=accelerator: found[accelerator])
    for name in ("auto", "cpu", None):
        refuse_missing_gpu({"accelerator": name})
    refuse_missing_gpu({})
    for name in ("gpu", "cuda"):
        with pytest.raises(ConfigError, match=rf"trainer\.accelerator={name} needs a GPU.*trainer=default"):
            refuse_missing_gpu({"accelerator": name})
    found[MPSAccelerator] = True
    refuse_missing_gpu({"accelerator": "gpu"})
    with pytest.raises(ConfigError, match=r"trainer\.accelerator=cuda"):
        refuse_missing_gpu({"accelerator": "cuda"})
    found[CUDAAccelerator] = True
    refuse_missing_gpu({"accelerator": "cuda"})


def test_tf32_is_of_products_and_of_convolutions() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        for wanted in (False, True):
            use_tf32(wanted)
            assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is wanted
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
