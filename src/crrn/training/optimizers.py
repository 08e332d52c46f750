"""The optimizer of a stage: torch's own, with a learning rate for each part and parts that are not trained."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from crrn.errors import ConfigError
from crrn.plugins import named

log = logging.getLogger(__name__)

FUSED = {"cpu", "cuda", "hpu", "mps", "mtia", "xpu"}
"""The devices on which torch's optimizers have a fused form."""


class Optimizer:
    """Makes the optimizer of each stage; the config's node `optimizer` maps one to one to these arguments.

    Args:
        algorithm: a class of optimizers, or its name, such as "torch.optim.AdamW".
        freeze: names of modules in the network, such as "iin.encoder", whose parameters are not trained. They stay in
            evaluation mode: their batch statistics and dropout do not change.
        lr_mult: factors of the learning rate by the module's name, such as {"iin.encoder": 0.1}. The innermost module
            counts.
        settings: further arguments of the algorithm.

    Raises:
        ConfigError: a setting is refused.
    """

    def __init__(
        self,
        algorithm: str | Callable[..., torch.optim.Optimizer],
        freeze: Sequence[str] = (),
        lr_mult: Mapping[str, float] | None = None,
        **settings: Any,
    ) -> None:
        if "lr" in settings:
            raise ConfigError("optimizer.lr is not used: give stages.NAME.learning_rate, as stages.gin.learning_rate.")
        if isinstance(freeze, str):
            raise ConfigError(f"optimizer.freeze={freeze} is not a list: give optimizer.freeze=[{freeze}].")
        for name, factor in (lr_mult or {}).items():
            if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
                raise ConfigError(
                    f"optimizer.lr_mult={{{name}: {factor}}} is not a valid factor: give a positive number. To leave "
                    f"a part untrained, use optimizer.freeze=[{name}]."
                )
        self.algorithm = (
            named("optimizer.algorithm", algorithm, "torch.optim.AdamW") if isinstance(algorithm, str) else algorithm
        )
        self.freeze = tuple(map(str, freeze))
        self.lr_mult = {str(name): float(factor) for name, factor in (lr_mult or {}).items()}
        self.settings = settings
        try:
            self.algorithm([nn.Parameter(torch.zeros(1))], lr=1e-3, **settings)
        except (TypeError, ValueError) as error:
            name = getattr(self.algorithm, "__name__", str(self.algorithm))
            raise ConfigError(f"optimizer: {name} refuses a setting: {error}.") from error

    def parts(self) -> dict[str, Any]:
        """What a checkpoint must agree with, as plain values."""
        return {"freeze": list(self.freeze), "lr_mult": self.lr_mult}

    def check(self, modules: Sequence[str]) -> None:
        """Refuses a name that is none of the modules that the run trains; ConfigError."""
        for setting, names in (("freeze", self.freeze), ("lr_mult", self.lr_mult)):
            for name in names:
                if name not in modules:
                    outer = [module for module in modules if module and "." not in module]
                    raise ConfigError(
                        f"optimizer.{setting} names {name}, which is not a module that a stage of this run trains. "
                        f"Give {', '.join(outer)} or a module in them, such as {_example(modules)}."
                    )

    def frozen(self, net: nn.Module, prefix: str = "") -> list[nn.Module]:
        """The modules of a network, or of its part with that prefix, that are not trained; sets their parameters so."""
        modules = [module for name, module in net.named_modules() if _full(prefix, name) in self.freeze]
        for module in modules:
            module.requires_grad_(False)
        return modules

    def __call__(self, net: nn.Module, lr: float, prefix: str = "") -> torch.optim.Optimizer:
        """The optimizer of a network, or of its part with that prefix, from the parameters that are not frozen.

        Each factor of the learning rate is a group; that of factor 1 is the first. With ``fused=True`` an optimizer
        without a fused form on the parameters' device is made without it.
        """
        groups: dict[float, list[nn.Parameter]] = {1.0: []}
        for name, parameter in net.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(self._factor(_full(prefix, name)), []).append(parameter)
        devices = {parameter.device.type for params in groups.values() for parameter in params}
        settings = dict(self.settings)
        if settings.get("fused") and not devices <= FUSED:
            log.info("optimizer.fused is left out: PyTorch has no such optimizer on %s.", min(devices - FUSED))
            settings["fused"] = False
        return self.algorithm(
            [{"params": params, "lr": lr * factor} for factor, params in groups.items() if params],
            lr=lr,
            **settings,
        )

    def _factor(self, name: str) -> float:
        around = [module for module in self.lr_mult if name.startswith(f"{module}.")]
        return self.lr_mult[max(around, key=len)] if around else 1.0


def _full(prefix: str, name: str) -> str:
    return ".".join(filter(None, (prefix, name)))


def _example(modules: Sequence[str]) -> str:
    return next((name for name in modules if name.count(".") == 1), modules[-1])
