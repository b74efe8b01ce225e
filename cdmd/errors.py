"""The one tree of exceptions.

Each class docstring is the sentence an administrator reads; messages add what, where and what to do.
"""

from collections.abc import Mapping, Sequence


class CdmdError(Exception):
    """Something went wrong in cdmd."""


class ConfigInvalid(CdmdError):
    """The configuration is invalid. ``problems`` holds one line for each mistake."""

    def __init__(self, problems: Sequence[str]) -> None:
        found = (problems,) if isinstance(problems, str) else tuple(problems)  # a text is a sequence, too: of its letters
        super().__init__("\n".join(found))
        self.problems = found


class PluginBroken(ConfigInvalid):
    """A plugin's own code fails where what it brought is made. ``why`` says how, without any value."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__([f"{where}: {why}"])
        self.why = why


class Overloaded(CdmdError):
    """There is no place for this now; try again after ``retry_after`` seconds."""

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotDurable(Overloaded):
    """The journal cannot make this durable now (disk full, read-only or failing), so it is not acknowledged."""


class NotOurs(NotDurable):
    """Another node has by now what was to be applied here, or all go by something else: it is chosen again."""


class Followed(NotDurable):
    """Another node fetches for a connector by now, so what this one still brings of it is not taken.

    ``tokens``: by connector the smallest that is taken. Of several appends only those are at fault that it ``refuses``.
    """

    def __init__(self, tokens: Mapping[str, int]) -> None:
        who = ", ".join(sorted(tokens))
        super().__init__(f"another node fetches for {who} by now; nothing of this one is taken any more")
        self.tokens = tokens

    def refuses(self, connector: str, fence: int) -> bool:
        """Whether what comes for that connector with that token is not taken."""
        return 0 < fence < self.tokens.get(connector, 0)


class Closed(Overloaded):
    """The connector was stopped, so what it still brings is not taken; it is not worth another try."""


class Paused(Overloaded):
    """The connector is paused by an administrator."""


class Damaged(CdmdError):
    """A database is damaged. The message says which, how it was noticed and which command mends it."""


class ClockDisturbed(CdmdError):
    """The wall clock leapt against the steady one, so nothing is deleted for its age."""


class Ending(CdmdError):
    """The daemon is stopping, so nothing is changed any more."""


class InUse(CdmdError):
    """Another daemon uses this state directory."""


class SchemaUnknown(CdmdError):
    """The database was written by a newer version of cdmd."""


class NotFound(CdmdError):
    """There is no such thing here."""


class NotPermitted(CdmdError):
    """This needs another role."""


class BadArguments(CdmdError):
    """The request does not say what is needed, or says it in a form that is not understood."""


class Unreachable(CdmdError):
    """The daemon cannot be reached."""


class AddressRefused(CdmdError):
    """cdmd does not connect to an address that the configuration does not name or allow."""


class RequestFailed(CdmdError):
    """Another service could not be reached, or gave no whole answer within the bounds."""


class AnswerTooLarge(RequestFailed):
    """Another service's answer was larger than it may be."""


class CredentialRefused(CdmdError):
    """The other side refuses the credential that is configured for it."""


class FormatFault(CdmdError):
    """A file as a whole cannot be read: ``code`` is a fixed word for why, the message what, where and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SourceUnavailable(CdmdError):
    """The other side cannot be reached or does not give what it should. The message is shown: it holds no data."""


class ReaderEnded(SourceUnavailable):
    """The process that read a file was ended from outside. The message is shown and says what to do."""


class SourceBlocked(SourceUnavailable):
    """The connector waits for somebody to act. The message is shown and says what to do."""


class TemplateFault(CdmdError):
    """A template could not be evaluated on this record: ``expression`` failed at ``path`` on a value of ``kind``."""

    def __init__(self, message: str, *, expression: str, path: str | None = None, kind: str | None = None) -> None:
        super().__init__(message)
        self.expression, self.path, self.kind = expression, path, kind


class ValueRefused(CdmdError):
    """A record's value cannot stand where the configuration puts it. The message never holds it."""


class ConditionFault(CdmdError):
    """A condition could not be evaluated on this event."""


class ValueMissing(ConditionFault):
    """A condition speaks of a value that is not there."""


class PluginFault(CdmdError):
    """A plugin could not be loaded or registered."""


class Forbidden(PluginFault):
    """A plugin may not do this within the daemon. The message says what it tried and holds no value."""


class Drop(CdmdError):
    """Raised by an extension: this event is not wanted; it is counted as filtered."""

    def __init__(self, reason: str = "dropped by an extension") -> None:
        super().__init__(reason)
        self.reason = reason


class RetryLater(CdmdError):
    """Raised by an extension: hold this event and call again after ``seconds``."""

    def __init__(self, seconds: float, reason: str = "an extension asked to be called later") -> None:
        super().__init__(reason)
        self.seconds, self.reason = seconds, reason


class Failed(CdmdError):
    """Raised by an extension: this call failed, which counts as any failure does, and ``on_failure`` decides.

    The reason is shown to administrators: no customer's values in it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Reject(CdmdError):
    """Raised by an extension: this event becomes a dead letter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
