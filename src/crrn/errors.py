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
    """A checkpoint is missing, damaged, or belongs to another architecture."""


class RunError(CrrnError):
    """A run directory cannot be used as asked, or a run had to stop."""


class ExportError(CrrnError):
    """A network cannot be exported, or what was exported does not compute what the network does."""


class Pruned(CrrnError):
    """Not a mistake: the study stopped this run early, because others are better."""


def kind_of(value: object) -> str:
    """What a value is, for a message: "an int", "None", "a Tensor of shape (2, 3)"."""
    if value is None:
        return "None"
    name, shape = type(value).__name__, getattr(value, "shape", None)
    article = "an" if name[0] in "aeiouAEIO" else "a"
    return f"{article} {name}" + ("" if shape is None else f" of shape {tuple(shape)}")
