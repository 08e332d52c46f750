"""First weights of a network: any part from any file that holds it."""

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.networks import named
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

from crrn.catalogue import FOLDER
from crrn.errors import ConfigError, WeightsError
from crrn.files import file_digest
from crrn.nets import CRRN, GiN, IiN, load_network, record_of, save_network
from crrn.nets.initial import load_initial
from crrn.nets.prediction import Prediction

WIDTH = 1 / 32


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights in the names and shapes of torchvision's VGG16 (59 MB), and a stand-in for its classifier."""
    plan = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
    features = make_layers(plan).state_dict()
    return {f"features.{name}": value for name, value in features.items()} | {"classifier.0.weight": torch.rand(2, 2)}


@pytest.fixture(scope="module")
def files(state, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vgg")
    features = {name: value for name, value in state.items() if name.startswith("features.")}
    paths = {name: folder / name for name in ("whole.pth", "legacy.pth", "features.safetensors", "bare.pth")}
    torch.save(state, paths["whole.pth"])
    torch.save(state, paths["legacy.pth"], _use_new_zipfile_serialization=False)
    save_file(features, paths["features.safetensors"])
    torch.save({name.removeprefix("features."): value for name, value in features.items()}, paths["bare.pth"])
    return paths


@pytest.fixture
def wide() -> IiN:
    """A narrow network with an encoder of width 1."""
    return IiN(WIDTH, encoder_width=1.0)


def unreachable(*_, **__):
    raise AssertionError("nothing may be downloaded")


@pytest.mark.parametrize("name", ["whole.pth", "legacy.pth", "features.safetensors", "bare.pth"])
def test_an_encoder_from_torchvisions_file(files, state, wide, name, caplog):
    rest = wide.bottleneck[0].weight.detach().clone()
    loaded = load_initial(wide, {"encoder": files[name]})
    for key, value in wide.encoder.features.state_dict().items():
        assert torch.equal(value, state[f"features.{key}"])
    assert torch.equal(wide.bottleneck[0].weight, rest)
    assert loaded.sources == {"encoder": {"source": str(files[name]), "digest": file_digest(files[name])}}
    assert all(key.startswith("encoder.") for key in loaded.state)
    assert caplog.records == []


def test_imagenet_is_one_of_the_sources(monkeypatch, files, state, wide, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg16-397923af.pth").symlink_to(files["whole.pth"])
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    network = CRRN(WIDTH, encoder_width=1.0)
    for net, init, part in ((wide, "imagenet", "encoder"), (network, {"iin.encoder": "imagenet"}, "iin.encoder")):
        loaded = load_initial(net, init)
        assert loaded.sources == {part: {"source": "imagenet", "digest": file_digest(files["whole.pth"])}}
        assert torch.equal(net.get_parameter(f"{part}.features.0.weight"), state["features.0.weight"])


def test_imagenet_fills_only_what_no_file_gives(monkeypatch, files, wide, tmp_path):
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    save_network(wide, tmp_path / "iin.safetensors")
    again = IiN(WIDTH, encoder_width=1.0)
    loaded = load_initial(again, {"net": tmp_path / "iin.safetensors", "encoder": "imagenet"})
    assert list(loaded.sources) == ["net"]
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in wide.state_dict().items())


def test_networks_without_an_encoder_need_no_imagenet(monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    for architecture in ("gin", "ceilnet"):
        assert load_initial(named(architecture, WIDTH), "imagenet").sources == {}


def test_imagenet_is_not_downloaded_where_it_would_not_fit(monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(WeightsError, match=r"net\.encoder_width=1, or init=null"):
        load_initial(IiN(WIDTH), "imagenet")


def test_a_random_encoder_is_warned_of(caplog):
    with caplog.at_level(logging.WARNING, logger="crrn"):
        load_initial(CRRN(WIDTH), None)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "iin.encoder" in caplog.text


def as_checkpoint(network: nn.Module, path: Path) -> None:
    state = {f"net.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "crrn": {"net": record_of(network)}}, path)


def as_run(network: nn.Module, path: Path) -> None:
    save_network(network, path / "weights.safetensors")


@pytest.mark.parametrize(
    ("write", "name"), [(save_network, "net.safetensors"), (as_checkpoint, "last.ckpt"), (as_run, "run")]
)
@pytest.mark.parametrize("whole", [True, False])
def test_gin_from_its_own_file_and_from_a_network_around_it(trained, tmp_path, write, name, whole):
    source = trained("crrn") if whole else trained("gin")
    write(source, tmp_path / name)
    network = CRRN(WIDTH)
    image = {key: value.clone() for key, value in network.iin.state_dict().items()}
    load_initial(network, {"gin": tmp_path / name})
    gin = source.gin if whole else source
    assert all(torch.equal(value, network.gin.state_dict()[key]) for key, value in gin.state_dict().items())
    assert all(torch.equal(value, network.iin.state_dict()[key]) for key, value in image.items())


def test_a_part_has_another_name_in_another_network(trained, tmp_path):
    source = trained("crrn")
    save_network(source, tmp_path / "crrn.safetensors")
    network = IiN(WIDTH)
    load_initial(network, {"encoder": tmp_path / "crrn.safetensors"})
    assert torch.equal(network.encoder.features[28].weight, source.iin.encoder.features[28].weight)


def test_half_precision_fills_float32(trained, tmp_path):
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in trained("gin").state_dict().items()
    }
    torch.save(state, tmp_path / "gin.pth")
    network = GiN(WIDTH)
    load_initial(network, {"net": tmp_path / "gin.pth"})
    assert network.output.weight.dtype == torch.float32
    assert torch.equal(network.output.weight, state["output.weight"].float())


def write_without(path: Path, network: nn.Module, absent: str, **config: object) -> None:
    state = {name: value for name, value in network.state_dict().items() if not name.startswith(absent)}
    save_file(state, path, {"crrn": json.dumps({"net": {**record_of(network), **config}})})


@pytest.mark.slow
def test_a_file_that_lacks_a_part_is_completed_by_another_file(trained, files, tmp_path, caplog):
    torch.manual_seed(3)
    source, path = CRRN(WIDTH, encoder_width=1.0), tmp_path / "no_encoder.safetensors"
    write_without(path, source, "iin.encoder.")
    vgg = files["features.safetensors"]
    for init in ({"net": path, "iin.encoder": vgg}, {"iin.encoder": vgg, "gin": path, "iin": path}):
        network = CRRN(WIDTH, encoder_width=1.0)
        load_initial(network, init)
        expected = {**source.state_dict(), **{f"iin.encoder.{name}": value for name, value in load_file(vgg).items()}}
        assert all(torch.equal(value, network.state_dict()[name]) for name, value in expected.items())
    assert caplog.records == []
    for part in ("net", "iin"):
        words = r"28 of \d+ weights do not fit, first .*encoder.mean, which the file lacks; .* a part such as .*encoder"
        with pytest.raises(WeightsError, match=words):
            load_initial(CRRN(WIDTH, encoder_width=1.0), {part: path})


def test_an_inner_part_wins_over_the_one_around_it(trained, tmp_path):
    save_network(trained("crrn"), tmp_path / "crrn.safetensors")
    torch.manual_seed(5)
    gin = GiN(WIDTH)
    save_network(gin, tmp_path / "gin.safetensors")
    network = CRRN(WIDTH)
    load_initial(network, {"net": tmp_path / "crrn.safetensors", "gin": tmp_path / "gin.safetensors"})
    assert torch.equal(network.gin.bridge[0].weight, gin.bridge[0].weight)
    assert torch.equal(network.iin.head[1].weight, trained("crrn").iin.head[1].weight)


def test_a_shipped_network_by_its_name():
    network = CRRN(0.25, encoder_width=1.0)
    loaded = load_initial(network, {"net": "crrn-small"})
    shipped = load_network(FOLDER / "crrn-small.safetensors").state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in network.state_dict().items())
    digest = file_digest(FOLDER / "crrn-small.safetensors")
    assert loaded.sources == {"net": {"source": "crrn-small", "digest": digest}}


def test_prediction_settings_are_those_of_the_file_that_gives_the_whole_network(trained, tmp_path):
    def begun_from(init):
        return load_initial(CRRN(WIDTH), init).prediction

    save_network(trained("crrn"), tmp_path / "crrn.safetensors", Prediction(320, 60))
    torch.save(trained("crrn").state_dict(), tmp_path / "crrn.pth")
    assert begun_from({"net": tmp_path / "crrn.safetensors"}) == Prediction(320, 60)
    for init in (None, {"gin": tmp_path / "crrn.safetensors"}, {"net": tmp_path / "crrn.pth"}):
        assert begun_from(init) == Prediction()


def test_a_head_that_shapes_do_not_tell(tmp_path):
    for written in ({"head": "sigmoid"}, {}):  # files of before have no such setting
        config = {"architecture": "crrn", "width": WIDTH, **written}
        save_file(CRRN(WIDTH).state_dict(), tmp_path / "old.safetensors", {"crrn": json.dumps({"net": config})})
        for part in ("net", "gin"):
            with pytest.raises(WeightsError, match=r"head=sigmoid.*head=additive.*net\.head=sigmoid"):
                load_initial(CRRN(WIDTH), {part: tmp_path / "old.safetensors"})
            load_initial(CRRN(WIDTH, head="sigmoid"), {part: tmp_path / "old.safetensors"})


def test_what_does_not_fit_is_said_in_one_sentence(trained, files, tmp_path, wide):
    path = tmp_path / "crrn.safetensors"
    save_network(trained("crrn"), path)
    text = tmp_path / "text.safetensors"
    text.write_text("no weights")
    other = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.rand(64, 3, 3, 3), "features.0.bias": torch.rand(32)}, other)
    empty = tmp_path / "empty.pth"
    torch.save([1, 2], empty)
    for network, init, words in (
        (CRRN(WIDTH), {"net": tmp_path / "absent.pth"}, "absent.pth is missing"),
        (CRRN(WIDTH), {"net": "crrn-smal"}, "Did you mean crrn-small?"),
        (CRRN(WIDTH), {"net": text}, "is not a safetensors file"),
        (CRRN(WIDTH), {"gin": empty}, "holds no gin"),
        (GiN(1 / 16), {"net": path}, "_target_=crrn.nets.CRRN, the run has _target_=crrn.nets.GiN"),
        (CRRN(1 / 16), {"gin": path}, "width=0.03125, the run has width=0.0625"),
        (
            wide,
            {"encoder": other},
            r"25 of 28 weights do not fit, first encoder.features.0.bias, which has the shape \(32,\)",
        ),
        (GiN(WIDTH), {"encoder.0": files["whole.pth"]}, "holds no encoder.0"),
    ):
        with pytest.raises(WeightsError, match=words):
            load_initial(network, init)
    for init, words in (
        ("x.ckpt", r"write init=\{net: x.ckpt\}"),
        ({"encoder": path}, "does not have: give net, gin, iin"),
        ({"gin": "imagenet"}, r"write init=\{iin.encoder: imagenet\}"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_initial(CRRN(WIDTH), init)


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, hostile):
    path, marker = hostile(tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="weights"):
        load_initial(GiN(WIDTH), {"net": path})
    assert not marker.exists()
