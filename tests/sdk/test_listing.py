"""`stretto list`: what is found where, and what shadows what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stretto import cli, show
from stretto.listing import listing
from stretto.lookup import find_top

GOOD = "name: {}\ndescription: {}\nagents:\n  - {{name: a, model: simulated/echo}}\n"


@pytest.fixture(autouse=True)
def here(empty_folders: Path) -> Path:
    return empty_folders


@pytest.fixture
def laid_out(tmp_path: Path, here: Path) -> Path:
    """Files as a user of llm-orc has them, some of them shadowed, some broken."""
    local, far = here / ".llm-orc", tmp_path / "home" / ".config" / "llm-orc"
    write(here, "beside.yaml", GOOD.format("beside", "In the folder itself."))
    write(local, "ensembles/team/review.yaml", GOOD.format("review", "Reads code."))
    write(local, "ensembles/broken.yaml", "name: broken\nagents: [\n")
    write(local, "ensembles/half.yaml", "description: 5\nagents: 5\n")
    write(far, "ensembles/team/other.yml", GOOD.format("review", "Reads code, elsewhere."))
    write(local, "config.yaml", "model_profiles: {fast: {model: small, provider: ollama}}\nperformance: {memory: 1}\n")
    write(far, "profiles/fast.yaml", "name: fast\nmodel: big\nprovider: ollama\ntemprature: 1\n")
    write(far, "profiles/bad.yaml", "name: bad\nmodel: 5\n")
    write(far, "profiles/worse.yaml", "[\n")
    write(far, "config.yaml", "performance: {execution: {default_timeout: 0}}\n")
    write(here, "performance.yaml", "max_concurrent_agents: 4\nprices: {a/*: {input: 1, output: 1}}\n")
    return here


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def stretto(*args: str) -> Result:
    result = CliRunner().invoke(cli.main, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result


def test_an_empty_folder_lists_nothing(here: Path) -> None:
    assert listing(here) == {
        "folder": str(here),
        "tiers": [],
        "ensembles": [],
        "profiles": [],
        "settings": [],
        "warnings": [],
    }
    assert stretto("list").stdout == "no ensembles\n\nno profiles\n\nno settings\n"


def test_ensembles_have_name_tier_file_and_what_shadows_them(laid_out: Path) -> None:
    rows = listing(laid_out)["ensembles"]
    assert [(row["name"], row["tier"], bool(row["errors"])) for row in rows] == [
        ("beside", "folder", False),
        ("broken", "local", True),
        ("half", "local", True),
        ("team/review", "local", False),
        ("team/review", "global", False),
    ]
    assert [row["description"] for row in rows] == [
        "In the folder itself.",
        "",
        "",
        "Reads code.",
        "Reads code, elsewhere.",
    ]
    assert rows[4]["shadowed_by"] == rows[3]["file"] == f"{laid_out}/.llm-orc/ensembles/team/review.yaml"
    assert rows[3]["shadowed_by"] is None


def test_a_broken_ensemble_is_listed_with_its_errors(laid_out: Path) -> None:
    _, broken, half, *_ = listing(laid_out)["ensembles"]
    assert broken["errors"][0].startswith(f"{laid_out}/.llm-orc/ensembles/broken.yaml:3:1: this is not YAML")
    assert half["errors"] == [
        f"{laid_out}/.llm-orc/ensembles/half.yaml:1:1: name must be a text, got nothing",
        f"{laid_out}/.llm-orc/ensembles/half.yaml:2:1: agents must be a list, got 5",
    ]


def test_profiles_have_model_provider_place_and_what_shadows_them(laid_out: Path) -> None:
    bad, fast, shadowed = listing(laid_out)["profiles"]
    assert (fast["name"], fast["model"], fast["provider"], fast["tier"], fast["line"]) == (
        "fast",
        "small",
        "ollama",
        "local",
        1,
    )
    assert (shadowed["model"], shadowed["tier"], shadowed["shadowed_by"]) == ("big", "global", f"{fast['file']}:1")
    assert "'temprature' is not a key of a profile" in shadowed["warnings"][0]
    assert (bad["model"], bad["shadowed_by"]) == ("", None)
    assert bad["errors"][0].endswith("profiles/bad.yaml:2:1: model of the profile 'bad' must be a text, got 5")


def test_files_of_settings_are_listed_the_nearest_first(laid_out: Path, tmp_path: Path) -> None:
    beside, local, far = listing(laid_out)["settings"]
    assert beside == {
        "file": f"{laid_out}/performance.yaml",
        "tier": "folder",
        "settings": {"max_concurrent_agents": 4},
        "prices": ["a/*"],
        "errors": [],
    }
    assert (local["tier"], local["settings"]) == ("local", {})
    assert (far["tier"], far["settings"]) == ("global", {})
    assert far["errors"][0].endswith("config.yaml:1:27: default_timeout must be seconds above 0, got 0")


def test_what_has_no_effect_and_what_is_ignored_are_warnings(laid_out: Path) -> None:
    worse, memory = listing(laid_out)["warnings"]
    assert "profiles/worse.yaml:2:1: this is not YAML" in worse
    assert ".llm-orc/config.yaml:2: kept without effect: memory" in memory
    lines = stretto("list").stderr.splitlines()
    assert lines == [f"warning: {worse}", f"warning: {memory}"]


def test_a_broken_config_file_is_listed_once(here: Path) -> None:
    write(here, ".llm-orc/config.yaml", "a: [\n")
    found = listing(here)
    assert found["settings"][0]["errors"][0].startswith(f"{here}/.llm-orc/config.yaml:2:1: this is not YAML")
    assert found["warnings"] == []


def test_the_table_shows_a_row_for_each(laid_out: Path) -> None:
    text = stretto("list").stdout
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["ensemble", "tier", "file", "description"]
    assert ["beside", "folder", "beside.yaml", "In", "the", "folder", "itself."] in lines
    assert ["team/review", "local", ".llm-orc/ensembles/team/review.yaml", "Reads", "code."] in lines
    assert "shadowed by .llm-orc/ensembles/team/review.yaml" in text
    assert "error: " in text
    assert ["fast", "small,", "ollama", "local", ".llm-orc/config.yaml:1"] in lines
    assert "shadowed by .llm-orc/config.yaml:1" in text
    assert ["performance.yaml", "folder", "max_concurrent_agents", "4,", "prices", "of", "a/*"] in lines
    assert [".llm-orc/config.yaml", "local", "nothing"] in lines


def test_several_errors_of_a_row_are_counted(laid_out: Path) -> None:
    assert "name must be a text, got nothing, and 1 more" in stretto("list").stdout


def test_a_long_description_is_cut_in_the_table_alone(here: Path) -> None:
    write(here, "e.yaml", GOOD.format("e", f'"{"long " * 50}\\nsecond line"'))
    text = stretto("list").stdout
    assert "second" not in text
    assert "long long lo...\n" in text
    assert "second line" in listing(here)["ensembles"][0]["description"]


def test_json_holds_all_of_it(laid_out: Path) -> None:
    assert json.loads(stretto("list", "--format", "json").stdout) == listing(laid_out)


def test_no_secret_is_shown(here: Path) -> None:
    key = "sk-verysecretkey1234567890"
    write(here, "e.yaml", GOOD.format("e", f"uses {key}"))
    write(here, "broken.yaml", f"name: b\nagents: [{key}\n")
    write(
        here,
        ".llm-orc/config.yaml",
        f"model_profiles:\n  p: {{model: {key}, api_key: {key}, {key}: 1, provider: [{key}]}}\n",
    )
    write(here, ".llm-orc/performance.yaml", f"run_timeout: {key}\n{key}: 1\n")
    write(here, ".llm-orc/profiles/q.yaml", f"name: q\nbase_url: http://user:{key}@host/\nmax_tokens: {key}\n")
    for arguments in ((), ("--format", "json")):
        result = stretto("list", *arguments)
        assert key not in result.stdout + result.stderr


def test_what_files_say_cannot_steer_a_terminal(here: Path) -> None:
    write(here, "e.yaml", GOOD.format('"e\\e[2J"', '"a\\e[31mred\\u202e"'))
    for arguments in ((), ("--format", "json")):
        assert not show.STEERING.search(stretto("list", *arguments).stdout)


def test_every_name_that_it_shows_can_be_run(laid_out: Path) -> None:
    for row in listing(laid_out)["ensembles"]:
        if row["shadowed_by"] is None:
            assert find_top(row["name"]) == Path(row["file"])


def test_a_link_that_leads_nowhere_is_listed(here: Path) -> None:
    (here / ".llm-orc" / "ensembles").mkdir(parents=True)
    (here / ".llm-orc" / "ensembles" / "gone.yaml").symlink_to("nowhere")
    [row] = listing(here)["ensembles"]
    assert row["name"] == "gone"
    assert row["errors"][0].endswith("cannot be read: No such file or directory")


def test_names_that_look_like_keys_are_not_shown(here: Path) -> None:
    key = "sk-0123456789abcdefghij"
    write(
        here,
        ".llm-orc/config.yaml",
        f"model_profiles: {{{key}: {{model: m}}}}\nperformance: {{prices: {{{key}: {{input: 1, output: 1}}}}}}\n",
    )
    write(here, ".llm-orc/ensembles/e.yaml", f"name: {key}\nagents: []\n")
    found = listing(here)
    assert (len(found["profiles"]), len(found["ensembles"]), len(found["settings"])) == (1, 1, 1)
    assert key not in str(found)
    assert key not in stretto("list").output
