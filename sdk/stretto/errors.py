"""Say what went wrong, typed, with the data as attributes.

    StrettoError
    ├── ConfigError (ValueError)          before any call: a wrong file, name, value or key
    ├── NoResult                          the output of a skipped or cancelled agent was asked for
    └── CallError                         a call was made, or refused, and has no answer
        ├── RateLimited                   429: too many requests or tokens              retryable
        ├── Overloaded                    503 or 529: the service has no room           retryable
        ├── ProviderUnavailable           no HTTP answer: refused, reset, cut off       retryable
        ├── ProviderFailed                5xx, 408, 409                                 retryable
        ├── BadResponse                   a 200 that is not an answer                   retryable
        ├── InvalidOutput                 an answer that is not what the agent promised
        ├── AuthenticationFailed          401
        ├── PermissionDenied              403
        ├── RequestRejected               400, 404, 413, 422
        ├── ContextTooLong                the messages do not fit the model
        ├── ContentBlocked                a content filter stopped it
        ├── CallTimeout (TimeoutError)    the clock of one attempt                      retryable
        ├── DeadlineExceeded (TimeoutError)  the clock of an agent, a phase or the run
        ├── BudgetExceeded                refused: the budget is spent
        ├── CircuitOpen                   refused: the circuit is open
        └── ScriptFailed                  a script ended with an error

Every error can be pickled, and every `CallError` be written as plain data with `to_dict` and read with `from_dict`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, TypeVar, Unpack, cast

from .shapes import is_mapping

if TYPE_CHECKING:
    from .call import Call

E = TypeVar("E", bound="StrettoError")


class StrettoError(Exception):
    """The root of all errors of stretto."""


class ConfigError(StrettoError, ValueError):
    """Refuse a setting, a file or a name before any call is made.

    Args:
        message: what is wrong and what to write instead.
        file: path of the file, as given. None: the value came from Python.
        line: from 1.
        column: from 1.
        agent: the agent concerned.
        key: the key or parameter concerned.
        nearest: the valid name that is nearest to the one given.
        errors: when one file has several errors, all of them in file order.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        agent: str | None = None,
        key: str | None = None,
        nearest: str | None = None,
        errors: tuple[ConfigError, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.agent = agent
        self.key = key
        self.nearest = nearest
        self.errors = errors

    def __str__(self) -> str:
        if self.errors:
            return "\n".join(str(error) for error in self.errors)
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        subject = f"agent {self.agent!r}: " if self.agent is not None else ""
        hint = f" (did you mean {self.nearest!r}?)" if self.nearest is not None else ""
        return f"{place}: {subject}{self.message}{hint}" if place else f"{subject}{self.message}{hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(self.__dict__))

    def at(self, *, file: str, line: int, column: int, agent: str | None = None) -> ConfigError:
        """Give the same error with its place in a file; a place that it has already wins."""
        if self.line is not None or self.errors:
            return self
        return ConfigError(
            self.message,
            file=file,
            line=line,
            column=column,
            agent=self.agent if self.agent is not None else agent,
            key=self.key,
            nearest=self.nearest,
        )


class NoResult(StrettoError):
    """Raised by `Outcome.output` of an agent that was skipped or cancelled.

    Args:
        agent: its name.
        status: "skipped" or "cancelled".
        reason: why, as the outcome says it.
    """

    def __init__(self, agent: str, status: str, reason: str = "") -> None:
        super().__init__(agent, status, reason)
        self.agent = agent
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"agent {self.agent!r} has no result: {self.status}" + (f", {self.reason}" if self.reason else "")


class _Given(TypedDict, total=False):
    call: Call | None
    status: int | None
    retryable: bool | None
    retry_after: float | None
    request_id: str | None
    reason: str


class CallError(StrettoError):
    """A call that has no answer.

    Functions may raise these with a message alone; the boundary adds agent, provider, model and attempt.

    Args:
        message: one sentence, without keys.
        call: the call concerned; gives `agent`, `provider`, `model` and `attempt`.
        status: HTTP status, when the provider answered.
        retryable: None: as the class says.
        retry_after: seconds that the server asked to wait, 0 or more.
        request_id: the provider's own name of the request.
        reason: why it was not tried again, or which clock ended it.
    """

    retryable_by_default: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        call: Call | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retryable = type(self).retryable_by_default if retryable is None else retryable
        self.retry_after = retry_after
        self.request_id = request_id
        self.reason = reason
        self.agent: str | None = None
        self.provider: str | None = None
        self.model: str | None = None
        self.attempt: int | None = None
        if call is not None:
            self.locate(call)

    def locate(self, call: Call) -> None:
        """Fill in agent, provider, model and attempt from `call`, where they are unknown."""
        if self.agent is None:
            self.agent = call.agent
        if self.model is None and call.model:
            self.model = call.model
            self.provider = call.model.partition("/")[0]
        if self.attempt is None and call.attempt.number:
            self.attempt = call.attempt.number

    def __str__(self) -> str:
        where = ", ".join(
            part
            for part in (
                f"agent {self.agent!r}" if self.agent is not None else "",
                self.model or "",
                f"attempt {self.attempt}" if self.attempt else "",
                f"status {self.status}" if self.status is not None else "",
                f"request {self.request_id}" if self.request_id else "",
            )
            if part
        )
        text = self.message or type(self).__name__
        if self.reason:
            text = f"{text} ({self.reason})"
        return f"{where}: {text}" if where else text

    def redact(self, clean: Callable[[str], str]) -> None:
        """Take keys out of every text that it holds, those in mappings and lists included."""
        for name, value in list(self.__dict__.items()):
            self.__dict__[name] = cleaned(value, clean)
        self.args = cleaned(self.args, clean)

    def to_dict(self) -> dict[str, Any]:
        """Give the error as plain data: its class as `type`, and every attribute."""
        return {"type": type(self).__name__, **self.__dict__}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CallError:
        """Rebuild what `to_dict` wrote; a class that is not known here becomes a `CallError`."""
        fields = {name: value for name, value in data.items() if name != "type"}
        kind = globals().get(str(data.get("type")), CallError)
        if not (isinstance(kind, type) and issubclass(kind, CallError)):
            kind = CallError
        return _rebuild(kind, fields)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(self.__dict__))


def cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    """Give data with each of its texts cleaned, the keys of mappings too."""
    if isinstance(value, str):
        return clean(value)
    if is_mapping(value):
        return {cleaned(key, clean): cleaned(item, clean) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        found: list[Any] = [cleaned(item, clean) for item in cast("list[Any]", value)]  # what it holds is unknown
        return tuple(found) if isinstance(value, tuple) else found
    return value


def _rebuild(kind: type[E], fields: dict[str, Any]) -> E:
    # Not through __init__: a subclass of a user may have another signature.
    error = kind.__new__(kind)
    error.__dict__.update(fields)
    if "message" in fields:
        error.args = (fields["message"],)
    return error


class RateLimited(CallError):
    """The provider answered 429, or a limit of ours refused; `retry_after` says how long to wait when it is known."""

    retryable_by_default = True


class Overloaded(CallError):
    """The service has no room at present (503, 529)."""

    retryable_by_default = True


class ProviderUnavailable(CallError):
    """No HTTP answer came: refused, unknown host, reset, cut off in the middle."""

    retryable_by_default = True


class ProviderFailed(CallError):
    """The provider answered 5xx, 408 or 409."""

    retryable_by_default = True


class BadResponse(CallError):
    """A 200 that is not an answer: broken JSON, no choices, an error object."""

    retryable_by_default = True


class InvalidOutput(CallError):
    """The model answered, but not what the agent or its dependants need."""


class AuthenticationFailed(CallError):
    """The provider answered 401: no key, or a wrong one."""


class PermissionDenied(CallError):
    """The provider answered 403: the key may not do this."""


class RequestRejected(CallError):
    """The provider refused the request itself (400, 404, 413, 422)."""


class ContextTooLong(CallError):
    """The messages and the answer do not fit the model's context."""


class ContentBlocked(CallError):
    """A content filter stopped the request or the answer."""


class CallTimeout(CallError, TimeoutError):
    """The clock of one attempt has run out: `Timeout`'s, or the share that `Fallback` gives to a model.

    Args:
        message: which clock.
        seconds: its length.
        given: as of `CallError`.
    """

    retryable_by_default = True

    def __init__(self, message: str = "", *, seconds: float | None = None, **given: Unpack[_Given]) -> None:
        super().__init__(message, **given)
        self.seconds = seconds


class DeadlineExceeded(CallError, TimeoutError):
    """The clock of an agent, a phase or the run has run out.

    Args:
        message: which clock.
        clock: "agent", "phase" or "run".
        seconds: its length.
        given: as of `CallError`.
    """

    def __init__(
        self, message: str = "", *, clock: str = "agent", seconds: float | None = None, **given: Unpack[_Given]
    ) -> None:
        super().__init__(message, **given)
        self.clock = clock
        self.seconds = seconds


class BudgetExceeded(CallError):
    """Refused before it was sent: the budget is spent."""


class CircuitOpen(CallError):
    """Refused before it was sent: the circuit of its key is open."""


class ScriptFailed(CallError):
    """A script could not be started, or ended with an error.

    Args:
        message: what it said.
        exit_status: 0 to 255, minus the number of the signal that killed it; None: it never ran, or nobody knows.
        stderr: the end of what it wrote to standard error.
        payload: what llm-orc's result holds of it beside the message; None: nothing.
        given: as of `CallError`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        exit_status: int | None = None,
        stderr: str = "",
        payload: Mapping[str, Any] | None = None,
        **given: Unpack[_Given],
    ) -> None:
        super().__init__(message, **given)
        self.exit_status = exit_status
        self.stderr = stderr
        self.payload = payload


_BY_STATUS: dict[int, type[CallError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    408: ProviderFailed,
    409: ProviderFailed,
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}


def error_for_status(status: int) -> type[CallError]:
    """Give the class of error for an HTTP status of 400 or above; the one table that all providers use."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return ProviderFailed if status >= 500 else RequestRejected
