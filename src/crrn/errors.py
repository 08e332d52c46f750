"""The errors that crrn raises on wrong input.

Each message is one sentence that says what is wrong, where, and how to mend it; the commands print it without a
traceback and exit with status 1.
"""


class CrrnError(Exception):
    """Base of all errors that a user's input can cause."""


class ConfigError(CrrnError):
    """A setting is unknown, out of range, or contradicts another."""


class DataError(CrrnError):
    """Photos are missing, unreadable or too small."""


class WeightsError(CrrnError):
    """Weights to begin a training with cannot be had or do not fit."""


class CheckpointError(CrrnError):
    """A checkpoint is missing, torn, or belongs to another architecture."""


class RunError(CrrnError):
    """A run directory cannot be used as asked, or a run had to stop."""


class ExportError(CrrnError):
    """A network cannot be exported, or what was exported does not compute what the network does."""


class Pruned(CrrnError):
    """No mistake: a study gave this run up, as others do better."""
