from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from crrn.errors import ConfigError
from hydra_plugins.crrn_study import distribution, finished, interrupted

optuna = pytest.importorskip("optuna")


def parsed(text: str):
    return distribution(OverridesParser.create().parse_override(text))


def test_a_sweep_is_a_distribution():
    assert parsed("a=choice(4,8)") == optuna.distributions.CategoricalDistribution([4, 8])
    assert parsed("a=int(interval(1,3))") == optuna.distributions.IntDistribution(1, 3)
    assert parsed("a=range(1,9,2)") == optuna.distributions.IntDistribution(1, 7, step=2)
    assert parsed("a=range(1,2,0.25)") == optuna.distributions.FloatDistribution(1.0, 1.75, step=0.25)
    assert parsed("a=tag(log, interval(1e-5,1e-3))") == optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True)
    with pytest.raises(ConfigError, match="cannot be searched"):
        parsed("a=glob(*)")


def test_choices_that_are_no_numbers_come_back_as_they_were_written():
    assert parsed("a=choice(imagenet,[96x160,224x288],true)").choices == ("imagenet", "[96x160,224x288]", "True")


@pytest.mark.slow
def test_a_trial_that_was_killed_goes_on_unless_it_never_began(tmp_path: Path):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}", direction="maximize")
    space = {name: optuna.distributions.FloatDistribution(0, 1) for name in ("a", "b")}
    study.tell(study.ask(space), 0.5)
    trial = study.ask(space)
    study.ask({"a": space["a"]})  # killed while its values were proposed
    for _ in range(2):
        assert [(left.number, left.params) for left in interrupted(study, space)] == [(1, trial.params)]
        assert [done.number for done in finished(study)] == [0]
