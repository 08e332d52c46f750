"""``python -m src.dashboard entity=NAME``: a saved W&B workspace in which Table 2's ablations are compared."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from crrn.cli.command import run
from crrn.errors import ConfigError, RunError

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

log = logging.getLogger(__name__)

METRICS = ("background_ssim", "background_si", "reflection_ssim", "reflection_si")
"""The columns of the paper's Table 2."""


def main() -> None:
    """The command. Exits with status 1 on wrong input or where W&B cannot be reached."""
    run("dashboard", save_dashboard)


def save_dashboard(*, entity: str | None, project: str, group: str | None) -> None:
    """Saves the workspace in W&B and prints its address; the parameters are the keys of ``conf/dashboard.yaml``.

    Raises:
        ConfigError: there is no entity, or the extra is not installed.
        RunError: W&B refuses or cannot be reached.
    """
    if not entity:
        raise ConfigError("Give the W&B user or team, as in entity=NAME.")
    workspace = build_dashboard(entity, project, group)
    try:
        workspace.save()
    except Exception as error:  # the client's own errors, of many kinds
        raise RunError(f"W&B did not save the dashboard: {error}; log in with `wandb login` and try again.") from error
    print(f"Dashboard: {workspace.url}")


def build_dashboard(entity: str, project: str, group: str | None = None) -> ws.Workspace:
    """The workspace: final metrics as bars for each ablation, their curves, losses, panels and per-image tables.

    Args:
        entity: W&B user or team.
        project: W&B project.
        group: only the runs of this group, such as one sweep's name.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ModuleNotFoundError as error:
        raise ConfigError("The dashboard needs wandb-workspaces: pip install 'crrn[dashboard]'.") from error
    ablation = wr.Config("ablation")
    bars: list[Any] = [
        wr.BarPlot(title=metric, metrics=[f"final/{metric}"], groupby=ablation, orientation="h") for metric in METRICS
    ]
    curves: list[Any] = [
        wr.LinePlot(title=metric, x="trainer/global_step", y=[f"joint/val/{metric}"], groupby=ablation)
        for metric in METRICS
    ]
    losses: list[Any] = [
        wr.LinePlot(title=f"{stage} loss", x="trainer/global_step", y=[f"{stage}/train/loss"], groupby=ablation)
        for stage in ("gin", "joint")
    ]
    pictures: list[Any] = [
        wr.MediaBrowser(title="panels", media_keys=["joint/panel", "gin/panel"]),
        wr.WeavePanelSummaryTable(table_name="joint/images"),
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name="Table 2: ablations",
        sections=[
            ws.Section(name="Final metrics by ablation", panels=bars, is_open=True),
            ws.Section(name="Validation", panels=curves, is_open=True),
            ws.Section(name="Losses", panels=losses),
            ws.Section(name="Pictures", panels=pictures, is_open=True),
        ],
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Metric("Group") == group) if group else "",
            groupby=[ws.Config("ablation")],
            order=[ws.Ordering(ws.Summary("final/background_ssim"), ascending=False)],
        ),
    )
