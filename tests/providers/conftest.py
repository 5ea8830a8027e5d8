"""What the tests of providers share: a loopback server, and silence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from loopback import Loopback


@pytest.fixture
async def server() -> AsyncIterator[Loopback]:
    async with Loopback() as server:
        yield server


@pytest.fixture
def silence(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Hold for a test that nothing was printed, and that the loop has nothing to complain about."""
    yield
    assert capfd.readouterr() == ("", "")
    assert [each.getMessage() for each in caplog.get_records("call") if each.name == "asyncio"] == []
