"""The tree of errors: what is what, what it says, and that it survives a pickle and plain data."""

from __future__ import annotations

import inspect
import json
import pickle
import re

import pytest

from stretto import errors
from stretto.errors import (
    BadResponse,
    CallError,
    CallTimeout,
    ConfigError,
    DeadlineExceeded,
    NoResult,
    Overloaded,
    RateLimited,
    RequestRejected,
    StrettoError,
    error_for_status,
)
from stretto.testing import a_call

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, StrettoError) and kind.__module__ == "stretto.errors"
]
CALL_ERRORS = [kind for kind in KINDS if issubclass(kind, CallError)]


class OwnError(CallError):
    """An error of a user, with a signature of its own."""

    def __init__(self, shelf: int) -> None:
        super().__init__(f"shelf {shelf} is empty", retryable=True)
        self.shelf = shelf


def drawn() -> dict[str, tuple[str, set[str], bool]]:
    """Read the diagram: for each name its parent, its builtin bases and whether it is retryable."""
    found: dict[str, tuple[str, set[str], bool]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"(\s{4}[│ ├└─]*)([A-Z]\w+)(?: \((\w+)\))?(.*)", line)
        if match is None or (found and "─" not in match[1]):
            continue
        depth = (len(match[1]) - 4) // 4
        path[depth:] = [match[2]]
        parent = path[depth - 1] if depth else "Exception"
        found[match[2]] = parent, {match[3]} - {None}, match[4].endswith("retryable")
    return found


def test_the_diagram_is_the_tree() -> None:
    builtin = ("ValueError", "TimeoutError")
    is_so = {
        kind.__name__: (
            kind.__bases__[0].__name__,
            {base.__name__ for base in kind.__bases__ if base.__name__ in builtin},
            issubclass(kind, CallError) and kind.retryable_by_default,
        )
        for kind in KINDS
    }
    assert drawn() == is_so


@pytest.mark.parametrize("kind", CALL_ERRORS)
def test_every_call_error_takes_the_same_keywords(kind: type[CallError]) -> None:
    error = kind(
        "no", call=a_call(), status=418, retryable=True, retry_after=2.5, request_id="r-1", reason="it was late"
    )
    assert (error.status, error.retryable, error.retry_after) == (418, True, 2.5)
    assert (error.request_id, error.reason) == ("r-1", "it was late")
    assert (error.agent, error.provider, error.model) == ("tester", "simulated", "simulated/echo")


@pytest.mark.parametrize("kind", CALL_ERRORS)
def test_a_message_alone_makes_a_call_error(kind: type[CallError]) -> None:
    assert str(kind("busy")) == "busy"
    assert str(kind()) == kind.__name__


@pytest.mark.parametrize("kind", CALL_ERRORS)
def test_a_pickled_call_error_is_the_same(kind: type[CallError]) -> None:
    error = kind("no", call=a_call(), retry_after=1.5, status=429)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.args, again.__dict__, str(again)) == (("no",), error.__dict__, str(error))


@pytest.mark.parametrize("kind", CALL_ERRORS)
def test_plain_data_of_a_call_error_survives_json(kind: type[CallError]) -> None:
    error = kind("no", call=a_call(), retry_after=1.5, reason="late")
    data = json.loads(json.dumps(error.to_dict()))
    again = CallError.from_dict(data)
    assert type(again) is kind
    assert data["type"] == kind.__name__
    assert (again.args, again.__dict__, str(again)) == (("no",), error.__dict__, str(error))


def test_an_error_of_a_user_survives_a_pickle_in_spite_of_its_signature() -> None:
    again = pickle.loads(pickle.dumps(OwnError(3)))
    assert (type(again), again.shelf, str(again), again.retryable) == (OwnError, 3, "shelf 3 is empty", True)


def test_data_of_a_class_that_is_not_known_here_becomes_a_call_error() -> None:
    again = CallError.from_dict(OwnError(3).to_dict())
    assert type(again) is CallError
    assert str(again) == "shelf 3 is empty"


@pytest.mark.parametrize("name", ["ConfigError", "error_for_status", "StrettoError", None])
def test_data_that_names_something_else_of_the_module_becomes_a_call_error(name: str | None) -> None:
    assert type(CallError.from_dict({"type": name, "message": "no"})) is CallError


def test_the_own_data_of_clocks_survives() -> None:
    timeout = CallTimeout("too slow", seconds=3.0)
    deadline = DeadlineExceeded("too late", clock="run", seconds=9.0)
    assert (
        pickle.loads(pickle.dumps(timeout)).seconds,
        CallError.from_dict(deadline.to_dict()).__dict__["clock"],
        pickle.loads(pickle.dumps(deadline)).seconds,
    ) == (3.0, "run", 9.0)


def test_retryable_is_as_the_class_says_unless_it_is_given() -> None:
    assert RateLimited().retryable
    assert not RateLimited(retryable=False).retryable
    assert not RequestRejected().retryable
    assert RequestRejected(retryable=True).retryable


def test_a_call_error_says_where_it_happened() -> None:
    call = a_call()
    call.attempt.number = 2
    error = BadResponse("no choices", call=call, status=200, request_id="r-9", reason="not tried again")
    assert str(error) == (
        "agent 'tester', simulated/echo, attempt 2, status 200, request r-9: no choices (not tried again)"
    )


def test_locating_an_error_keeps_what_is_known_already() -> None:
    error = Overloaded("busy", call=a_call(agent="first", model="one/m"))
    error.locate(a_call(agent="second", model="two/m"))
    assert (error.agent, error.provider, error.model) == ("first", "one", "one/m")


def test_a_call_without_a_model_gives_no_provider() -> None:
    error = CallError("no", call=a_call(model="", kind="function"))
    assert (error.agent, error.provider, error.model, error.attempt) == ("tester", None, None, None)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "RequestRejected"),
        (401, "AuthenticationFailed"),
        (403, "PermissionDenied"),
        (404, "RequestRejected"),
        (408, "ProviderFailed"),
        (409, "ProviderFailed"),
        (413, "RequestRejected"),
        (422, "RequestRejected"),
        (429, "RateLimited"),
        (500, "ProviderFailed"),
        (502, "ProviderFailed"),
        (503, "Overloaded"),
        (504, "ProviderFailed"),
        (529, "Overloaded"),
    ],
)
def test_a_status_has_one_class(status: int, name: str) -> None:
    assert error_for_status(status).__name__ == name


def test_a_config_error_begins_with_its_place() -> None:
    error = ConfigError("no such key", file="a.yaml", line=3, column=5, agent="x", key="modle", nearest="model")
    assert str(error) == "a.yaml:3:5: agent 'x': no such key (did you mean 'model'?)"


def test_a_config_error_of_python_has_no_place() -> None:
    assert str(ConfigError("no such key", key="modle")) == "no such key"
    assert str(ConfigError("no", agent="x")) == "agent 'x': no"


def test_several_errors_of_a_file_are_shown_one_a_line() -> None:
    both = ConfigError("2 errors", errors=(ConfigError("one", line=1), ConfigError("two", line=2)))
    assert str(both) == "1: one\n2: two"


def test_a_pickled_config_error_is_the_same() -> None:
    error = ConfigError("no", file="a.yaml", line=1, column=2, agent="x", key="k", nearest="n")
    several = ConfigError("1 error", errors=(error,))
    again = pickle.loads(pickle.dumps(several))
    assert str(again) == str(several)
    assert again.errors[0].__dict__ == error.__dict__


def test_a_config_error_is_given_its_place_once() -> None:
    error = ConfigError("no", key="k", nearest="n").at(file="a.yaml", line=1, column=2, agent="x")
    assert str(error) == "a.yaml:1:2: agent 'x': no (did you mean 'n'?)"
    assert error.at(file="b.yaml", line=9, column=9) is error


def test_a_config_error_that_names_its_agent_keeps_it() -> None:
    assert ConfigError("no", agent="own").at(file="f", line=1, column=1, agent="other").agent == "own"


def test_the_builtin_bases_catch_ours() -> None:
    assert issubclass(ConfigError, ValueError)
    assert issubclass(CallTimeout, TimeoutError)
    assert issubclass(DeadlineExceeded, TimeoutError)


def test_no_result_says_why_and_survives_a_pickle() -> None:
    error = pickle.loads(pickle.dumps(NoResult("b", "skipped", "a failed")))
    assert (error.agent, error.status, error.reason) == ("b", "skipped", "a failed")
    assert str(error) == "agent 'b' has no result: skipped, a failed"
    assert str(NoResult("b", "cancelled")) == "agent 'b' has no result: cancelled"
