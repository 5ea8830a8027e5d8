"""The layer and the provider keep stretto's contracts, and do what they are there for."""

import pytest
from stretto_shout import Shout, Sign

from stretto import ConfigError
from stretto.testing import Answers, Stack, a_call, assert_middleware_contract, assert_provider_contract, virtual_time


def test_the_layer_keeps_the_contract() -> None:
    assert_middleware_contract(lambda: Sign("the crier"))


def test_the_provider_keeps_the_contract() -> None:
    assert_provider_contract(Shout, model="shout/loud", failing=[{"messages": ()}])


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_is_signed(stream: bool) -> None:
    async def main() -> None:
        call = a_call(stream)
        reply = await Stack(Sign("the crier"), provider=Answers("Oyez."))(call)
        assert reply.text == "Oyez.\nthe crier"
        assert "".join(piece.text or "" for piece in call.pieces) == (reply.text if stream else "")

    virtual_time(main())


def test_an_empty_signature_is_refused() -> None:
    with pytest.raises(ConfigError, match="must not be empty"):
        Sign(" ")


def test_it_shouts() -> None:
    async def main() -> None:
        call = a_call(True, model="shout/louder", messages=({"role": "user", "content": "hear me"},))
        reply = await Shout()(call)
        assert reply.text == "HEAR ME!!!"
        assert [piece.text for piece in call.pieces] == ["HEAR ", "ME!!!"]

    virtual_time(main())
