"""A Hydra sweeper that runs an Optuna study: TPE, pruning, and a storage from which an interrupted study goes on.

Hydra takes sweepers only from the package ``hydra_plugins``. Its own Optuna plugin needs Optuna 2, cannot prune, and
counts its trials anew when it is started again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from crrn.errors import ConfigError
from crrn.private import trial_id

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

NEVER_RAN = "never ran"
"""Marks the trials that do not count in the study."""


class StudySweeper(Sweeper):
    """Runs trials until the study has ``trials`` finished ones, counting those of earlier starts.

    Each trial's proposal is a pure function of the seed, the trial's place in the study and the finished trials, and an
    interrupted trial goes on, with its own values and with what it has reported; so a study that was stopped and
    started again is the study that was never stopped (with one job at a time).

    Args:
        study: the study's name within its storage.
        storage: an Optuna URL; the default is a file in the sweep's folder.
        trials: finished trials wanted in all; failed ones count.
        startup_trials: trials drawn at random before TPE begins.
        seed: of the proposals.
        jobs_at_once: trials proposed together, for a launcher that runs several at a time.
        params: what is searched, in Hydra's notation for sweeps: ``choice(4, 8)``, ``range(1, 9)``,
            ``interval(0.1, 1)``, ``tag(log, interval(1e-5, 1e-3))``. The command line adds to it and overrides it.
    """

    def __init__(
        self,
        study: str,
        storage: str,
        trials: int,
        startup_trials: int,
        seed: int,
        jobs_at_once: int,
        params: Mapping[str, Any],
    ) -> None:
        self.study_name = study
        self.storage = storage
        self.trials = trials
        self.startup_trials = startup_trials
        self.seed = seed
        self.jobs_at_once = jobs_at_once
        self.params = params
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.folder = Path(str(config.hydra.sweep.dir))
        self.monitor = str(config.stages[config.stages.order[-1]].monitor)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the study; ``arguments`` are the command line's overrides."""
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise SystemExit("error: sweep=optuna needs Optuna: pip install 'crrn[sweep]'.") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        fixed, space = self._space(arguments)
        self.folder.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            study_name=self.study_name, storage=self.storage, direction=self._direction(), load_if_exists=True
        )
        waiting = interrupted(study, space)
        done = len(finished(study))
        if done or waiting:
            log.info("Study %s: %d trials are finished, %d go on.", self.study_name, done, len(waiting))
        assert self.launcher is not None
        while done < self.trials:
            size = min(self.jobs_at_once, self.trials - done)
            begun, waiting = waiting[:size], waiting[size:]
            batch: list[Any] = [*begun, *(self._ask(study, space, done + n) for n in range(len(begun), size))]
            overrides = [
                [
                    *fixed,
                    *(f"{key}={value}" for key, value in trial.params.items()),
                    f"pruning.trial={trial_id(trial)}",
                ]
                for trial in batch
            ]
            returns = self.launcher.launch(overrides, initial_job_idx=done)
            for trial, job in zip(batch, returns, strict=True):
                tell(study, trial.number, job.return_value)
            done += len(batch)
        complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        if complete:
            best = study.best_trial
            log.info("Best of %d trials: %s with %s", done, best.value, best.params)

    def _direction(self) -> Literal["minimize", "maximize"]:
        """Whether the last stage's monitored metric is better where it is higher or where it is lower."""
        from crrn.training.validation import lower_is_better  # needs torch, which `--help` does not wait for

        return "minimize" if lower_is_better(self.monitor) else "maximize"

    def _ask(self, study: optuna.Study, space: dict[str, Any], place: int) -> optuna.Trial:
        import optuna

        study.sampler = optuna.samplers.TPESampler(seed=self.seed + place, n_startup_trials=self.startup_trials)
        return study.ask(space)

    def _space(self, arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
        """The overrides that all trials share, and the distributions of what is searched."""
        parser = OverridesParser.create()
        given = parser.parse_overrides(list(arguments))
        named = {override.key_or_group for override in given}
        preset = [f"{key}={value}" for key, value in self.params.items() if key not in named]
        fixed, space = [], {}
        for override in [*parser.parse_overrides(preset), *given]:
            if override.is_sweep_override():
                space[override.get_key_element()] = distribution(override)
            else:
                fixed.append(override.input_line or "")
        return fixed, space


def distribution(override: Any) -> optuna.distributions.BaseDistribution:
    """What Optuna calls a Hydra override's sweep; ``int(interval(1, 9))`` gives whole numbers.

    Raises:
        ConfigError: a notation that has no such meaning, such as a glob.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    log_scale = "log" in getattr(value, "tags", ())
    if isinstance(value, ChoiceSweep):
        # What is no number is kept as it is written in an override: a storage holds no lists.
        choices: list[Any] = value.list
        numbers = all(type(choice) in (int, float) for choice in choices)
        return CategoricalDistribution(choices if numbers else list(override.sweep_string_iterator()))
    if isinstance(value, IntervalSweep):
        low: Any = value.start
        high: Any = value.end
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log_scale)
        return FloatDistribution(low, high, log=log_scale)
    if isinstance(value, RangeSweep) and value.start is not None and value.stop is not None:
        # Hydra's ranges end before `stop`, Optuna's at their last value.
        last = value.start + (math.ceil((value.stop - value.start) / value.step) - 1) * value.step
        if all(isinstance(end, int) for end in (value.start, value.stop, value.step)):
            return IntDistribution(int(value.start), int(last), step=int(value.step), log=log_scale)
        return FloatDistribution(value.start, last, step=value.step)
    raise ConfigError(f"{override.input_line} cannot be searched: give choice(...), range(...) or interval(...).")


def interrupted(study: optuna.Study, space: Mapping[str, Any]) -> list[optuna.trial.FrozenTrial]:
    """The trials that a killed sweep left running. One that was killed while its values were proposed is closed: it
    never ran, and is proposed anew.
    """
    from optuna.trial import Trial, TrialState

    running = study.get_trials(states=(TrialState.RUNNING,))
    for trial in running:
        if not space.keys() <= trial.params.keys():
            Trial(study, trial_id(trial)).set_user_attr(NEVER_RAN, True)
            study.tell(trial.number, state=TrialState.FAIL)
    return [trial for trial in running if space.keys() <= trial.params.keys()]


def finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that came to an end, well or badly."""
    return [trial for trial in study.get_trials() if trial.state.is_finished() and NEVER_RAN not in trial.user_attrs]


def tell(study: optuna.Study, number: int, value: float) -> None:
    """Closes a trial: pruned where its job said so, failed where it gave no number."""
    from optuna.trial import TrialState

    if study.get_trials()[number].user_attrs.get("pruned"):
        study.tell(number, state=TrialState.PRUNED)
    elif math.isfinite(value):
        study.tell(number, value)
    else:
        study.tell(number, state=TrialState.FAIL)
