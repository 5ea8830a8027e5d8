"""Which provider, address, key and price a model has: a key never leaves its origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from stretto import routing
from stretto.agent import Agent
from stretto.call import Call, Endpoint
from stretto.contract import Next
from stretto.ensemble import Ensemble
from stretto.errors import ConfigError
from stretto.providers import LiteLLM, Simulated
from stretto.reply import Reply
from stretto.routing import Routing, Service
from stretto.runner import Runner
from stretto.secret import HIDDEN, Secret
from stretto.testing import Answers
from stretto.usage import Price, Usage

OWN, EVIL = "https://api.one.example/v1", "https://evil.example/v1"
KEYS = {"ONE_API_KEY": "key-of-one-1234", "TWO_API_KEY": "key-of-two-1234", "TEAM_API_KEY": "key-of-team-123"}
SERVICES = {
    "one": Service(("ONE_API_KEY", "ONE_OLD_API_KEY"), ("ONE_BASE_URL",), OWN, True),
    "two": Service(("TWO_API_KEY",), ("TWO_BASE_URL",), "https://api.two.example", True),
    "cloud": Service((), ("CLOUD_URL",), None, False),  # its client signs with credentials of the machine
    "keyless": Service((), (), None, True),
}


@pytest.fixture(autouse=True)
def few_services(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    routing.entry_points.cache_clear()
    monkeypatch.setattr(routing, "services", lambda: SERVICES)
    yield
    routing.entry_points.cache_clear()


class Provider(Answers):
    """A provider that says where it is, as third parties may."""

    def __init__(self, base_url: str | None = None, key_names: tuple[str, ...] = (), api_key: Any = None) -> None:
        super().__init__()
        self.base_url, self.key_names, self.api_key = base_url, key_names, api_key


def routed(
    providers: Mapping[str, Next] | None = None,
    *,
    trusted: tuple[str, ...] = (),
    prices: Mapping[str, Price] | None = None,
    **environ: str,
) -> Routing:
    return Routing({"*": Answers(), **(providers or {})}, trusted, prices, {**KEYS, **environ})


def key_of(endpoint: Endpoint) -> str | None:
    return None if endpoint.api_key is None else endpoint.api_key.reveal()


def agent(**given: Any) -> Agent:
    return Agent("a", **{"model": "one/m", **given})


# ---- rule 1: a key never leaves its origin


def test_a_key_of_the_environment_goes_to_its_provider_s_own_address() -> None:
    assert routed().endpoint("one/m", None) == Endpoint(None, Secret(KEYS["ONE_API_KEY"]))


def test_each_provider_gets_its_own_key() -> None:
    assert key_of(routed().endpoint("two/m", None)) == KEYS["TWO_API_KEY"]
    assert key_of(routed().endpoint("keyless/m", None)) is None


@pytest.mark.parametrize(
    "url",
    [
        EVIL,
        "http://api.one.example/v1",
        "https://api.one.example:8443/v1",
        "https://api.one.example.evil.example/v1",
        "https://evil.example/api.one.example",
        "https://evil.example#api.one.example",
        "https://one.example/v1",
        "http://localhost:8000/v1",
        "https://api.two.example",
    ],
)
def test_a_key_of_the_environment_goes_nowhere_else(url: str) -> None:
    endpoint = routed().agent_endpoint(agent(base_url=url))
    assert (endpoint.base_url, endpoint.api_key) == (url, None)
    assert routed().endpoint("one/m", Endpoint(url)).api_key is None


@pytest.mark.parametrize("url", [OWN, "https://API.one.example:443/other", "https://api.one.example"])
def test_the_own_address_may_be_written_out(url: str) -> None:
    assert key_of(routed().agent_endpoint(agent(base_url=url))) == KEYS["ONE_API_KEY"]


def test_a_key_goes_to_the_address_that_the_environment_names() -> None:
    routes = routed(ONE_BASE_URL="http://gateway.internal:8080/v1")
    assert routes.endpoint("one/m", None) == Endpoint("http://gateway.internal:8080/v1", Secret(KEYS["ONE_API_KEY"]))
    assert key_of(routes.endpoint("one/m", Endpoint("http://gateway.internal:8080"))) == KEYS["ONE_API_KEY"]
    assert key_of(routes.endpoint("one/m", Endpoint(EVIL))) is None


def test_an_address_of_the_environment_is_no_other_provider_s() -> None:
    routes = routed(TWO_BASE_URL="http://gateway.internal:8080")
    assert key_of(routes.endpoint("one/m", Endpoint("http://gateway.internal:8080"))) is None


def test_an_agent_s_address_wins_over_the_environment_s() -> None:
    routes = routed(ONE_BASE_URL="http://gateway.internal")
    assert routes.endpoint("one/m", Endpoint(EVIL)) == Endpoint(EVIL)


@pytest.mark.parametrize("url", ["http://h:port", "gateway", "http://user:hunter2@h"])
def test_an_address_of_the_environment_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match="the environment variable ONE_BASE_URL: base_url must") as error:
        routed(ONE_BASE_URL=url).endpoint("one/m", Endpoint(OWN))
    assert "hunter2" not in str(error.value)


def test_a_key_goes_to_an_origin_that_the_caller_trusts() -> None:
    routes = routed(trusted=("https://proxy.example",))
    assert key_of(routes.endpoint("one/m", Endpoint("https://proxy.example/v1"))) == KEYS["ONE_API_KEY"]
    assert key_of(routes.endpoint("one/m", Endpoint("https://proxy.example:8443"))) is None


def test_trusted_origins_may_come_from_anything_that_can_be_read_once() -> None:
    routes = Routing({"*": Answers()}, iter(["https://proxy.example"]), None, KEYS)
    assert key_of(routes.endpoint("one/m", Endpoint("https://proxy.example"))) == KEYS["ONE_API_KEY"]


def test_a_key_from_code_goes_where_the_code_says() -> None:
    endpoint = routed().agent_endpoint(agent(base_url=EVIL, api_key="key-from-code"))
    assert endpoint == Endpoint(EVIL, Secret("key-from-code"))


def test_a_key_from_code_wins_over_the_environment_s() -> None:
    assert key_of(routed().agent_endpoint(agent(api_key="key-from-code"))) == "key-from-code"


def test_a_key_that_a_provider_holds_goes_to_its_own_address_only() -> None:
    routes = routed({"mine": Provider("https://mine.example", api_key=Secret("key-of-mine"))})
    assert routes.endpoint("mine/m", None) == Endpoint("https://mine.example", Secret("key-of-mine"))
    assert key_of(routes.endpoint("mine/m", Endpoint(EVIL))) is None


def test_a_provider_may_hold_its_key_as_a_text() -> None:
    routes = routed({"mine": Provider("https://mine.example", api_key="key-of-mine")})
    assert routes.endpoint("mine/m", None).api_key == Secret("key-of-mine")


def test_a_provider_s_key_does_not_follow_an_address_of_the_environment() -> None:
    routes = routed({"one": Provider(api_key=Secret("key-of-mine"))}, ONE_BASE_URL="http://gateway.internal")
    assert key_of(routes.endpoint("one/m", None)) == KEYS["ONE_API_KEY"]


def test_a_provider_names_the_variable_of_its_key() -> None:
    routes = routed({"mine": Provider("https://mine.example", ("MINE_TOKEN",))}, MINE_TOKEN="token-of-mine")
    assert key_of(routes.endpoint("mine/m", None)) == "token-of-mine"
    assert key_of(routes.endpoint("mine/m", Endpoint(EVIL))) is None


def test_the_first_variable_that_is_set_counts() -> None:
    assert key_of(routed(ONE_API_KEY=" ", ONE_OLD_API_KEY="old-key-of-one").endpoint("one/m", None)) == "old-key-of-one"


def test_a_line_break_at_the_end_of_a_key_does_not_belong_to_it() -> None:
    assert key_of(routed(ONE_API_KEY="key-from-a-file\n").endpoint("one/m", None)) == "key-from-a-file"


def test_a_provider_with_credentials_of_the_machine_goes_nowhere_else() -> None:
    with pytest.raises(ConfigError, match=r"trusted_origins=\['https://evil.example:443'\]") as error:
        routed().agent_endpoint(agent(model="cloud/m", base_url=EVIL, api_key="key-from-code"))
    assert (error.value.agent, error.value.key) == ("a", "base_url")
    trusting = routed(trusted=(EVIL,))
    assert trusting.endpoint("cloud/m", Endpoint(EVIL)) == Endpoint(EVIL)
    assert routed(CLOUD_URL=EVIL).endpoint("cloud/m", None) == Endpoint(EVIL)


def test_the_cure_that_an_error_names_cures_it() -> None:
    url = "http://[::1]:8080/v1"
    with pytest.raises(ConfigError) as error:
        routed().agent_endpoint(agent(model="cloud/m", base_url=url))
    cure = str(error.value).partition("trusted_origins=['")[2].partition("'")[0]
    assert routed(trusted=(cure,)).endpoint("cloud/m", Endpoint(url)) == Endpoint(url)


async def test_a_downloaded_ensemble_sends_no_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    seen: list[Endpoint] = []

    async def server(call: Call) -> Reply:
        seen.append(call.endpoint)
        return Reply("ok")

    agents = [Agent(name, model=f"{name}/m", base_url=EVIL) for name in ("one", "two")]
    async with Runner(providers={"*": server}) as runner:
        await runner.run(Ensemble("downloaded", agents), "x")
    assert seen == [Endpoint(EVIL), Endpoint(EVIL)]


# ---- api_key_env


def test_a_file_may_name_a_variable_that_ends_in_api_key() -> None:
    assert key_of(routed().agent_endpoint(agent(api_key_env="TEAM_API_KEY"))) == KEYS["TEAM_API_KEY"]


def test_a_provider_s_own_variable_may_have_any_name() -> None:
    routes = routed({"mine": Provider("https://mine.example", ("MINE_TOKEN",))}, MINE_TOKEN="token-of-mine")
    assert key_of(routes.agent_endpoint(agent(model="mine/m", api_key_env="MINE_TOKEN"))) == "token-of-mine"


@pytest.mark.parametrize(
    "name", ["HOME", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "team_api_key", "_API_KEY", "X_API_KEY "]
)
def test_any_other_variable_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="api_key_env must name a variable that ends in _API_KEY") as error:
        routed(**{name: "a-secret-value"}).agent_endpoint(agent(api_key_env=name))
    assert (error.value.agent, error.value.key) == ("a", "api_key_env")


def test_another_provider_s_key_does_not_go_here() -> None:
    with pytest.raises(ConfigError, match="TWO_API_KEY is the key of two: it does not go to one"):
        routed().agent_endpoint(agent(api_key_env="TWO_API_KEY"))


@pytest.mark.parametrize("name", ["ONE_API_KEY", "TEAM_API_KEY"])
def test_a_variable_does_not_go_to_another_address(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} goes only to its provider's own address.*evil.example") as error:
        routed().agent_endpoint(agent(base_url=EVIL, api_key_env=name))
    assert error.value.key == "base_url"


def test_a_variable_goes_to_a_trusted_address() -> None:
    routes = routed(trusted=(EVIL,))
    assert key_of(routes.agent_endpoint(agent(base_url=EVIL, api_key_env="TEAM_API_KEY"))) == KEYS["TEAM_API_KEY"]


@pytest.mark.parametrize("value", ["", " \n"])
def test_a_variable_that_is_not_set_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match="the environment variable OTHER_API_KEY is not set"):
        routed(OTHER_API_KEY=value).agent_endpoint(agent(api_key_env="OTHER_API_KEY"))


def test_for_a_plan_it_need_not_be_set() -> None:
    assert routed().agent_endpoint(agent(api_key_env="OTHER_API_KEY"), key_needed=False) == Endpoint()


def test_a_variable_wins_over_the_provider_s_own_key() -> None:
    routes = routed({"mine": Provider("https://mine.example", api_key=Secret("key-of-mine"))})
    assert key_of(routes.agent_endpoint(agent(model="mine/m", api_key_env="TEAM_API_KEY"))) == KEYS["TEAM_API_KEY"]


# ---- rule 3: known keys are in no text


def test_keys_of_the_environment_are_known_before_the_first_call() -> None:
    assert routed().redactor.model_text(f"echo {KEYS['ONE_API_KEY']}") == f"echo {HIDDEN}"


def test_a_key_from_code_is_known_once_it_is_routed() -> None:
    routes = routed()
    routes.agent_endpoint(agent(api_key="key-from-code"))
    assert routes.redactor.model_text("key-from-code") == HIDDEN


@pytest.mark.parametrize("url", ["ftp://h", "http://user:pw@h", "h", ""])
def test_a_trusted_origin_must_be_an_address(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url must"):
        routed(trusted=(url,))


def test_trusted_origins_are_a_list() -> None:
    with pytest.raises(ConfigError, match="trusted_origins must be a list of addresses"):
        Routing(None, "https://h", None, {})


def test_an_address_that_a_layer_gives_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="base_url must be"):
        routed().endpoint("one/m", Endpoint("ftp://h"))


# ---- rule 4: no file sends a call to a link-local or metadata address

METADATA = ["http://169.254.169.254/v1", "http://[fe80::1%25eth0]", "http://2852039166", "http://0xa9.0xfe.0xa9.0xfe"]


@pytest.mark.parametrize("url", METADATA)
def test_a_link_local_address_is_refused_before_any_call(url: str) -> None:
    with pytest.raises(ConfigError, match="is a link-local or metadata address") as error:
        routed().agent_endpoint(agent(base_url=url))
    assert (error.value.agent, error.value.key) == ("a", "base_url")
    with pytest.raises(ConfigError, match="link-local"):
        routed().endpoint("one/m", Endpoint(url, Secret("key-from-code")))
    with pytest.raises(ConfigError, match="link-local"):
        routed(ONE_BASE_URL=url).endpoint("one/m", None)
    with pytest.raises(ConfigError, match="link-local"):
        routed({"mine": Provider(url)}).endpoint("mine/m", None)


@pytest.mark.parametrize("url", METADATA)
def test_unless_its_origin_is_trusted_as_the_error_says(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        routed().endpoint("one/m", Endpoint(url))
    cure = str(error.value).partition("trusted_origins=['")[2].partition("'")[0]
    endpoint = routed(trusted=(cure,)).endpoint("one/m", Endpoint(url))
    assert (endpoint.base_url, endpoint.trusted) == (url, True)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://[::1]", "http://10.0.0.1", "http://metadata.example"])
def test_this_machine_private_networks_and_names_are_not_refused(url: str) -> None:
    assert routed().endpoint("one/m", Endpoint(url)) == Endpoint(url)


@pytest.mark.parametrize("given", [None, Endpoint(EVIL), Endpoint(EVIL, trusted=True), Endpoint(OWN, trusted=True)])
def test_nothing_but_the_caller_s_own_list_makes_an_origin_trusted(given: Endpoint | None) -> None:
    assert not routed(ONE_BASE_URL=OWN).endpoint("one/m", given).trusted
    assert not routed(trusted=("https://other.example",)).endpoint("one/m", given).trusted


def test_an_endpoint_knows_that_its_origin_is_trusted() -> None:
    routes = routed(trusted=(EVIL,))
    assert routes.endpoint("one/m", Endpoint(EVIL)).trusted
    assert routes.agent_endpoint(agent(base_url=EVIL + "/other")).trusted
    assert not routes.endpoint("one/m", Endpoint(OWN)).trusted
    assert not routes.endpoint("one/m", None).trusted


# ---- names


@pytest.mark.parametrize(
    ("model", "url", "named"),
    [
        ("llama3", EVIL, "compatible/llama3"),
        ("meta-llama/Llama-3", EVIL, "compatible/meta-llama/Llama-3"),
        ("one/m", EVIL, "one/m"),
        ("simulated/m", EVIL, "simulated/m"),
        ("compatible/m", EVIL, "compatible/m"),
        ("one", EVIL, "compatible/one"),
        ("llama3", None, "llama3"),
        ("meta-llama/Llama-3", None, "meta-llama/Llama-3"),
        ("", EVIL, "compatible/"),
    ],
)
def test_with_an_address_a_model_needs_no_known_prefix(model: str, url: str | None, named: str) -> None:
    assert Routing(None, (), None, {}).named(model, url) == named


def test_a_prefix_of_the_mapping_or_of_an_entry_point_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("late", "late-dist"))
    routes = Routing({"mine": Answers()}, (), None, {})
    assert routes.named("mine/m", EVIL) == "mine/m"
    assert routes.named("late/m", EVIL) == "late/m"
    assert routes.named("other/m", EVIL) == "compatible/other/m"


def test_the_star_knows_every_prefix_but_no_model_without_one() -> None:
    assert routed().named("other/m", EVIL) == "other/m"
    assert routed().named("m", EVIL) == "compatible/m"


# ---- what a provider refuses


class Choosy(Provider):
    """A provider that says before any call what it cannot do."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, Endpoint]] = []

    def check(self, model: str, endpoint: Endpoint) -> None:
        self.asked.append((model, endpoint))
        if model == "mine/no":
            raise ConfigError("mine cannot do that", key="model", nearest="mine/yes")


def test_a_provider_may_refuse_a_model_or_an_address_before_any_call() -> None:
    choosy = Choosy()
    routes = routed({"mine": choosy})
    endpoint = routes.agent_endpoint(agent(model="mine/yes", base_url=EVIL, api_key="key-from-code"))
    assert choosy.asked == [("mine/yes", endpoint)]
    with pytest.raises(ConfigError, match="mine cannot do that") as error:
        routes.agent_endpoint(agent(model="mine/no"))
    assert (error.value.agent, error.value.key, error.value.nearest) == ("a", "model", "mine/yes")


def test_an_address_is_needed_where_the_provider_has_none() -> None:
    with pytest.raises(ConfigError, match="'compatible/m' needs an address") as error:
        Routing(None, (), None, {}).agent_endpoint(agent(model="compatible/m"))
    assert (error.value.agent, error.value.key) == ("a", "base_url")


# ---- prefixes


class Late(Answers):
    """What an entry point gives."""


def installed(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    def entry_points(*, group: str) -> list[Any]:
        return [
            SimpleNamespace(name=name, dist=SimpleNamespace(name=dist) if dist else None, load=lambda: Late)
            for name, dist in points
            if group == "stretto.providers"
        ]

    monkeypatch.setattr(metadata, "entry_points", entry_points)


def test_the_mapping_wins_over_everything() -> None:
    mine = Answers()
    assert routed({"simulated": mine}).provider("simulated/echo") is mine


def test_a_shipped_provider_is_found_by_its_prefix_and_made_once() -> None:
    routes = Routing(None, (), None, {})
    assert isinstance(routes.provider("simulated/echo"), Simulated)
    assert routes.provider("simulated/echo") is routes.provider("simulated/other")


def test_the_star_leaves_the_shipped_prefixes_alone() -> None:
    assert isinstance(routed().provider("simulated/echo"), Simulated)


def test_the_star_takes_every_other_prefix() -> None:
    star = Answers()
    routes = routed({"*": star})
    assert routes.provider("one/m") is star
    assert routes.provider("never-heard-of/m") is star


def test_a_prefix_that_litellm_knows_goes_to_one_litellm() -> None:
    routes = Routing(None, (), None, {})
    assert isinstance(routes.provider("one/m"), LiteLLM)
    assert routes.provider("one/m") is routes.provider("two/m")


@pytest.mark.parametrize("before", [[], ["one/m"]])
def test_litellm_is_no_prefix_whatever_was_called_before(before: list[str]) -> None:
    routes = Routing(None, (), None, {})
    for model in before:
        routes.provider(model)
    with pytest.raises(ConfigError, match="no provider is known for 'litellm/m'"):
        routes.provider("litellm/m")


def test_an_entry_point_gives_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("late", "late-dist"))
    routes = routed()
    assert isinstance(routes.provider("late/m"), Late)
    assert routes.provider("late/m") is routes.provider("late/other")


def test_an_entry_point_wins_over_the_star(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("late", "late-dist"))
    assert isinstance(routed({"*": Answers()}).provider("late/m"), Late)


@pytest.mark.parametrize("name", ["simulated", "local", "litellm"])
def test_an_entry_point_that_takes_our_name_is_refused_with_both_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, (name, "greedy-dist"))
    with pytest.raises(ConfigError, match=f"'{name}' in stretto.providers is claimed by both stretto and greedy-dist"):
        routed().provider("one/m")


def test_two_entry_points_of_one_name_are_refused_with_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("late", "first-dist"), ("late", "second-dist"))
    with pytest.raises(
        ConfigError, match=r"'late' in stretto\.providers is claimed by both first-dist and second-dist"
    ):
        routed().provider("late/m")


def test_an_entry_point_without_a_distribution_has_a_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("local", ""))
    with pytest.raises(ConfigError, match=r"claimed by both stretto and \?"):
        routed().provider("one/m")


def test_a_model_without_a_prefix_is_refused() -> None:
    with pytest.raises(ConfigError, match="'gpt-5' names no provider: write 'provider/model'"):
        routed().provider("gpt-5")


@pytest.mark.parametrize(
    ("model", "nearest"), [("onne/m", "one"), ("simulatd/x", "simulated"), ("zzzz/m", None), ("/m", None)]
)
def test_an_unknown_prefix_is_named_with_the_nearest(model: str, nearest: str | None) -> None:
    with pytest.raises(ConfigError, match=f"no provider is known for '{model}'") as error:
        Routing(None, (), None, {}).provider(model)
    assert (error.value.key, error.value.nearest) == ("model", nearest)


def test_an_agent_s_unknown_provider_names_the_agent() -> None:
    with pytest.raises(ConfigError, match="agent 'a': no provider is known"):
        Routing(None, (), None, {}).agent_endpoint(agent(model="zzzz/m"))


def test_a_provider_may_refuse_a_model_before_any_call() -> None:
    with pytest.raises(ConfigError) as error:
        Routing(None, (), None, {}).agent_endpoint(agent(model="simulated/fail-500+nonsense"))
    assert error.value.agent == "a"


# ---- what a plan says


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ({}, "https://api.one.example:443"),
        ({"base_url": EVIL}, "https://evil.example:443"),
        ({"model": "keyless/m"}, None),
        ({"model": "simulated/echo"}, "this process"),
        ({"model": None, "function": str}, None),
    ],
)
def test_a_plan_says_where_calls_go(given: dict[str, Any], host: str | None) -> None:
    assert routed().host(agent(**given)) == host


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "ONE_API_KEY"),
        ({"api_key_env": "TEAM_API_KEY"}, "TEAM_API_KEY"),
        ({"api_key_env": "OTHER_API_KEY"}, "OTHER_API_KEY: not set"),
        ({"api_key": "key-from-code"}, "given in code"),
        ({"base_url": EVIL}, None),
        ({"model": "keyless/m"}, None),
        ({"model": "mine/m"}, "of the provider"),
        ({"model": None, "function": str}, None),
    ],
)
def test_a_plan_says_which_key_calls_carry(given: dict[str, Any], name: str | None) -> None:
    routes = routed({"mine": Provider("https://mine.example", api_key=Secret("key-of-mine"))})
    assert routes.key_name(agent(**given)) == name


def test_a_plan_says_which_variables_are_not_set() -> None:
    assert Routing({"*": Answers()}, (), None, {}).key_name(agent()) == "ONE_API_KEY or ONE_OLD_API_KEY: not set"


# ---- prices


class Priced(Answers):
    def price(self, model: str) -> Price | None:
        return Price(1.0, 1.0) if model == "one/known" else None


def test_the_caller_s_price_wins_over_the_provider_s() -> None:
    routes = routed({"one": Priced()}, prices={"one/*": Price(5.0, 5.0)})
    assert routes.price("one/known") == Price(5.0, 5.0)


def test_without_a_price_of_the_caller_the_provider_s_counts() -> None:
    routes = routed({"one": Priced()}, prices={"two/*": Price(5.0, 5.0)})
    assert routes.price("one/known") == Price(1.0, 1.0)
    assert routes.price("one/other") is None
    assert routes.price("keyless/m") is None


@pytest.mark.parametrize(
    ("model", "price"), [("one/m", 4.0), ("one/mini", 3.0), ("one/large", 2.0), ("two/m", 1.0), ("two/m/x", 1.0)]
)
def test_the_most_specific_pattern_wins(model: str, price: float) -> None:
    prices = {"*": Price(1.0, 0), "one/m": Price(4.0, 0), "one/m*": Price(3.0, 0), "one/*": Price(2.0, 0)}
    assert routed(prices=prices).price(model) == Price(price, 0)


def test_an_exact_name_wins_over_a_longer_pattern() -> None:
    prices = {"one/[m][m][m]": Price(1.0, 0), "one/mmm": Price(2.0, 0)}
    assert routed(prices=prices).price("one/mmm") == Price(2.0, 0)


@pytest.mark.parametrize(
    ("prices", "told", "usage", "cost"),
    [
        ({"one/*": Price(2.0, 0)}, 0.7, Usage(1_000_000), 2.0),
        ({"one/*": Price(2.0, 0)}, 0.7, None, None),
        ({"two/*": Price(2.0, 0)}, 0.7, Usage(1_000_000), 0.7),
        (None, 0.7, Usage(1_000_000), 0.7),
        (None, 0.0, Usage(1_000_000), 0.0),
        (None, None, Usage(1_000_000), 1.0),
        (None, None, None, None),
    ],
)
def test_cost_is_by_own_price_else_as_told_else_by_the_provider_s_price(
    prices: Any, told: float | None, usage: Usage | None, cost: float | None
) -> None:
    assert routed({"one": Priced()}, prices=prices).cost("one/known", usage, told) == cost


def test_a_cost_that_nobody_knows_is_none_and_not_zero() -> None:
    assert routed({"one": Priced()}).cost("one/other", Usage(1_000_000), None) is None


# ---- the table of services


def test_every_service_of_the_table_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    table = routing.services()
    assert table["openai"].keys == ("OPENAI_API_KEY",)
    assert "OPENAI_BASE_URL" in table["openai"].bases
    assert table["openai"].url == "https://api.openai.com/v1"
    assert {"anthropic", "groq", "mistral", "bedrock"} <= table.keys()
    assert not table["bedrock"].movable
    for name, service in table.items():
        assert name not in routing.OWN
        if service.url is not None:
            routing.check_base_url(service.url, agent=name)


def test_prices_of_an_ensemble_are_laid_under_and_providers_stay_shared() -> None:
    base = Routing(None, (), {"simulated/a": Price(1, 1)}, {})
    over = base.over({"simulated/a": Price(2, 2), "simulated/b": Price(3, 3)})
    assert over.price("simulated/a") == Price(1, 1)
    assert over.price("simulated/b") == Price(3, 3)
    assert over.provider("simulated/b") is base.provider("simulated/b")
    assert base.over({}).provider("simulated/b") is base.provider("simulated/b")


def test_a_key_that_a_run_was_given_is_not_kept_for_the_next() -> None:
    base = Routing({"mine": Answers("ok")}, (), None, {})
    for number in range(3):
        run = base.over({})
        run.agent_endpoint(Agent("a", model="mine/m", base_url="http://localhost:1", api_key=f"key-number-{number}"))
        assert f"key-number-{number}" not in run.redactor.error_text(f"it was key-number-{number}")
        assert base.redactor.error_text(f"it was key-number-{number}") == f"it was key-number-{number}"


def test_a_service_that_signs_only_without_a_key_may_be_called_with_one_wherever_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routing, "_KEYED", frozenset({"cloud"}))
    with pytest.raises(ConfigError, match="give api_key in code"):
        routed().agent_endpoint(agent(model="cloud/m", base_url=EVIL))
    endpoint = routed().agent_endpoint(agent(model="cloud/m", base_url=EVIL, api_key="key-from-code"))
    assert key_of(endpoint) == "key-from-code"
