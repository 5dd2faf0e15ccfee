"""Every error toonbox raises on purpose."""


class ToonboxError(Exception):
    """The base of all errors that toonbox raises on purpose; the text is the whole message."""


class UsageError(ToonboxError):
    """An option that is wrong, or options that conflict; exit code 2."""


class ConfigError(ToonboxError):
    """A training configuration that cannot be right; exit code 2."""


class PictureError(ToonboxError):
    """A picture that cannot be read; names the file and the reason."""


class TooLargeError(PictureError):
    """A picture that has too many pixels, or takes too much memory."""


class VideoError(ToonboxError):
    """A video that cannot be read; names the file and the reason."""


class OutputError(ToonboxError):
    """A result that cannot be written, or would overwrite something."""


class AnswersError(ToonboxError):
    """Answers about blind pairs, or their key, that cannot be counted; names the file."""


class StyleError(ToonboxError):
    """A style that is missing or damaged."""


class ShapeError(ToonboxError, ValueError):
    """An array or tensor of the wrong shape."""


class WeightsError(ToonboxError):
    """A weights file that is missing, damaged or not the one expected."""


class DataError(ToonboxError):
    """Training pictures that cannot be used."""


class TrainingError(ToonboxError):
    """Training that cannot go on (NaN, a run folder of another configuration)."""


class ExportError(ToonboxError):
    """An exported style that does not match its network."""


class MissingExtraError(ToonboxError):
    """An optional part that is not installed; says what to install."""


class UnexpectedError(ToonboxError):
    """Any other exception raised for one picture or video, which is the cause."""
