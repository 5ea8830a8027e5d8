"""Model profiles: which one wins, what is wrong with one, and which files are ignored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stretto import ConfigError, profiles
from stretto.config_file import read_config_files
from stretto.profiles import Profile, read_profiles
from stretto.tiers import Tier


class Read:
    """What was read of one folder, as a local tier."""

    def __init__(self, *folders: Path) -> None:
        self.errors: list[ConfigError] = []
        self.notes: list[str] = []
        tiers = [Tier("global" if n < len(folders) - 1 else "local", folder) for n, folder in enumerate(folders)]
        self.profiles = read_profiles(read_config_files(tiers), self.errors, self.notes)


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def one(folder: Path, text: str) -> Profile:
    """Read a profile whose keys are given."""
    write(folder, "profiles/p.yaml", f"name: p\n{text}")
    return Read(folder).profiles["p"]


def test_profiles_of_config_yaml_are_read(tmp_path: Path) -> None:
    file = write(
        tmp_path, "config.yaml", "model_profiles:\n  x-shared: 1\n  fast:\n    model: m\n    provider: ollama\n"
    )
    read = Read(tmp_path)
    assert (read.errors, read.notes, list(read.profiles)) == ([], [], ["fast"])
    profile = read.profiles["fast"]
    assert profile.values == {"model": "m", "provider": "ollama"}
    assert (profile.file, profile.place, profile.tier) == (str(file), (3, 3), "local")
    assert profile.values.keys_at["provider"] == (5, 5)


def test_a_file_of_its_own_holds_one_profile(tmp_path: Path) -> None:
    file = write(tmp_path, "profiles/any.yaml", "name: fast\nmodel: m\nprovider: ollama\ndescription: d\n")
    profile = Read(tmp_path).profiles["fast"]
    assert profile.values == {"model": "m", "provider": "ollama", "description": "d"}
    assert (profile.file, profile.place) == (str(file), (1, 1))


def test_later_wins_and_says_what_it_shadows(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    expected = [
        write(low, "config.yaml", "model_profiles: {p: {model: 1a}}\n"),
        write(low, "profiles/p.yaml", "name: p\nmodel: 1b\n"),
        write(high, "config.yaml", "model_profiles: {p: {model: 2a}}\n"),
        write(high, "profiles/b.yaml", "name: p\nmodel: 2c\n"),
        write(high, "profiles/c.yaml", "name: p\nmodel: 2d\n"),
        write(high, "profiles/a.local.yaml", "name: p\nmodel: 2e\n"),
    ]
    winner = Read(low, high).profiles["p"]
    assert winner.values["model"] == "2e"
    files = [profile.file for profile in (winner, *winner.shadows)]
    assert files == [str(file) for file in reversed(expected)]
    assert {profile.shadows for profile in winner.shadows} == {()}
    assert [profile.tier for profile in winner.shadows] == ["local"] * 3 + ["global"] * 2


def test_profiles_do_not_merge(tmp_path: Path) -> None:
    write(tmp_path, "config.yaml", "model_profiles: {p: {model: a, temperature: 1}}\n")
    write(tmp_path, "profiles/p.yaml", "name: p\nmodel: b\n")
    assert Read(tmp_path).profiles["p"].values == {"model": "b"}


def test_all_keys_that_count_are_kept(tmp_path: Path) -> None:
    text = (
        "model: m\nprovider: openai-compatible/x\nbase_url: http://h/v1\napi_key_env: X_API_KEY\nsystem_prompt: ''\n"
        "temperature: 0\nmax_tokens: 5\ntimeout_seconds: 1.5\noptions: {top_p: 1}\nfallback_model_profile: q\n"
        "description: d\nx-mine: {a: 1}\n"
    )
    profile = one(tmp_path, text)
    assert (profile.errors, profile.doubts, profile.notes) == ((), (), ())
    assert profile.values == {
        "model": "m",
        "provider": "openai-compatible/x",
        "base_url": "http://h/v1",
        "api_key_env": "X_API_KEY",
        "system_prompt": "",
        "temperature": 0,
        "max_tokens": 5,
        "timeout_seconds": 1.5,
        "options": {"top_p": 1},
        "fallback_model_profile": "q",
        "description": "d",
    }


def test_a_key_without_value_is_as_one_left_out(tmp_path: Path) -> None:
    profile = one(tmp_path, "model: m\noptions:\ntemperature: null\n")
    assert (profile.values, profile.errors) == ({"model": "m"}, ())


def test_seconds_may_be_a_text_as_in_llm_orc(tmp_path: Path) -> None:
    assert one(tmp_path, "timeout_seconds: '30'\n").values == {"timeout_seconds": 30}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: 5", "model of the profile 'p' must be a text, got 5"),
        ("model: ''", "model of the profile 'p' must be a text, got ''"),
        ("provider: no", "provider of the profile 'p' must be a text, got False"),
        ("base_url: [a]", "base_url of the profile 'p' must be a text, got a list"),
        ("system_prompt: 5", "system_prompt of the profile 'p' must be a text, got 5"),
        ("temperature: warm", "temperature of the profile 'p' must be a number, got 'warm'"),
        ("temperature: yes", "temperature of the profile 'p' must be a number, got True"),
        ("max_tokens: 1.5", "max_tokens of the profile 'p' must be a whole number above 0, got 1.5"),
        ("max_tokens: 0", "max_tokens of the profile 'p' must be a whole number above 0, got 0"),
        ("max_tokens: on", "max_tokens of the profile 'p' must be a whole number above 0, got True"),
        ("timeout_seconds: abc", "timeout_seconds of the profile 'p' must be seconds above 0, got 'abc'"),
        ("timeout_seconds: '1.5 s'", "timeout_seconds of the profile 'p' must be seconds above 0, got '1.5 s'"),
        ("timeout_seconds: 0", "timeout_seconds of the profile 'p' must be seconds above 0, got 0"),
        ("timeout_seconds: -1", "timeout_seconds of the profile 'p' must be seconds above 0, got -1"),
        ("timeout_seconds: on", "timeout_seconds of the profile 'p' must be seconds above 0, got True"),
        ("options: [a]", "options of the profile 'p' must be a mapping, got a list"),
        ("fallback_model_profile: {}", "fallback_model_profile of the profile 'p' must be a text, got a mapping"),
    ],
)
def test_a_wrong_value_travels_with_its_profile(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "profiles/p.yaml", f"name: p\n{text}\n")
    read = Read(tmp_path)
    assert read.errors == []  # an agent that names another profile never hears of it
    [error] = read.profiles["p"].errors
    assert str(error) == f"{tmp_path}/profiles/p.yaml:2:1: {message}"
    assert error.key == text.partition(":")[0]
    assert read.profiles["p"].values == {}


def test_all_that_is_wrong_with_a_profile_is_said_together(tmp_path: Path) -> None:
    assert [error.line for error in one(tmp_path, "model: 1\nprovider: 2\noptions: 3\n").errors] == [2, 3, 4]


def test_an_unknown_key_is_a_warning_or_in_strict_files_an_error(tmp_path: Path) -> None:
    profile = one(tmp_path, "model: m\ntemprature: 1\n")
    message = "'temprature' is not a key of a profile ('p') (did you mean 'temperature'?)"
    assert profile.complaints(strict=False) == (
        (),
        (f"{tmp_path}/profiles/p.yaml:3: {message}: it is ignored",),
    )
    errors, notes = profile.complaints(strict=True)
    assert [str(error) for error in errors] == [f"{tmp_path}/profiles/p.yaml:3:1: {message}"]
    assert notes == ()
    assert profile.values == {"model": "m"}


@pytest.mark.parametrize("key", ["api_key", "token", "password", "client_secret"])
def test_a_key_in_a_file_is_not_kept_and_never_repeated(tmp_path: Path, key: str) -> None:
    profile = one(tmp_path, f"model: m\n{key}: hunter2-and-more\n")
    assert profile.values == {"model": "m"}
    for strict in (False, True):
        errors, notes = profile.complaints(strict=strict)
        [text] = [*map(str, errors), *notes]
        assert f"{key!r} of the profile 'p' holds a key: name the variable that holds it with api_key_env" in text
        assert "hunter2" not in repr(profile) + text


@pytest.mark.parametrize("key", ["cost_per_token: 1e-6", "hf_repo: a/b"])
def test_what_has_no_effect_is_said(tmp_path: Path, key: str) -> None:
    profile = one(tmp_path, f"model: m\n{key}\n")
    [note] = profile.complaints(strict=True)[1]
    name = key.partition(":")[0]
    assert note.startswith(f"{tmp_path}/profiles/p.yaml:3: {name} of the profile 'p' has no effect: ")
    assert name in profile.values


@pytest.mark.parametrize(("value", "got"), [("", "nothing"), ("x", "'x'"), ("[a]", "a list"), ("5", "5")])
def test_a_profile_that_is_no_mapping_is_unusable(tmp_path: Path, value: str, got: str) -> None:
    write(tmp_path, "config.yaml", f"model_profiles:\n  p: {value}\n  q: {{model: m}}\n")
    read = Read(tmp_path)
    assert read.errors == []
    [error] = read.profiles["p"].errors
    assert str(error) == f"{tmp_path}/config.yaml:2:3: the profile 'p' must be a mapping, got {got}"
    assert read.profiles["q"].values == {"model": "m"}


@pytest.mark.parametrize(
    ("value", "got"),
    [("", "nothing: leave the key out, or give it content"), ("[a]", "a list"), ("x", "'x'"), ("no", "False")],
)
def test_a_section_of_profiles_must_be_a_mapping(tmp_path: Path, value: str, got: str) -> None:
    write(tmp_path, "config.yaml", f"project: x\nmodel_profiles: {value}\n")
    write(tmp_path, "profiles/q.yaml", "name: q\nmodel: m\n")
    read = Read(tmp_path)
    [error] = read.errors
    assert str(error) == f"{tmp_path}/config.yaml:2:1: model_profiles must map names to profiles, got {got}"
    assert list(read.profiles) == ["q"]


def test_a_file_that_maps_several_profiles_is_ignored_with_what_to_do(tmp_path: Path) -> None:
    write(tmp_path, "profiles/many.yaml", "# mine\nmodel_profiles:\n  p: {model: m}\n")
    read = Read(tmp_path)
    assert (read.profiles, read.errors) == ({}, [])
    assert read.notes == [
        f"{tmp_path}/profiles/many.yaml:2: a file of a profile holds one profile, so model_profiles: is ignored: move "
        f"what it holds into {tmp_path}/config.yaml, or write one file for each, with name: at its top"
    ]


def test_a_profile_with_such_a_section_is_a_profile(tmp_path: Path) -> None:
    profile = one(tmp_path, "model: m\nmodel_profiles: {q: {model: n}}\n")
    assert profile.values == {"model": "m"}
    assert [doubt.key for doubt in profile.doubts] == ["model_profiles"]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("model: m\n", "1:1", "a file of a profile needs a name: a text, got nothing"),
        ("model: m\nname:\n", "2:1", "a file of a profile needs a name: a text, got nothing"),
        ("model: m\nname: 5\n", "2:1", "a file of a profile needs a name: a text, got 5"),
        ("name: no\n", "1:1", "a file of a profile needs a name: a text, got False"),
        ("name: ''\n", "1:1", "a file of a profile needs a name: a text, got ''"),
        ("name: [a]\nmodel_profiles: {}\n", "1:1", "a file of a profile needs a name: a text, got a list"),
        ("", "1:1", "the file is empty"),
        ("- a\n", "1:1", "the file holds a list at its top"),
        ("a: [b\n", "2:1", "this is not YAML"),
        ("name: a\n---\nname: b\n", "2:1", "the file holds a second document"),
        ("name: a\nname: b\n", "2:1", "the key 'name' is given twice"),
        ("name: a\ntemperature: .inf\n", "2:14", "a number must be finite"),
        ("a\0", "1:2", "this is not YAML: the character U+0000"),
        ("name: a\n".encode("utf-16"), "1:1", "the file must be UTF-8"),
    ],
)
def test_a_broken_file_is_an_error_and_hides_no_other(
    tmp_path: Path, text: str | bytes, place: str, message: str
) -> None:
    write(tmp_path, "profiles/a.yaml", text)
    write(tmp_path, "profiles/b.yaml", "name: b\nmodel: m\n")
    read = Read(tmp_path)
    assert list(read.profiles) == ["b"]
    [error] = read.errors
    assert str(error).startswith(f"{tmp_path}/profiles/a.yaml:{place}: {message}")


def test_only_yaml_files_of_the_folder_itself_are_read(tmp_path: Path) -> None:
    for name in ("sub/a.yaml", "b.yml", "c.txt", "d.yaml~"):
        write(tmp_path, f"profiles/{name}", "name: p\nmodel: m\n")
    (tmp_path / "profiles" / "e.yaml").mkdir()
    os.mkfifo(tmp_path / "profiles" / "f.yaml")
    read = Read(tmp_path)
    assert (read.profiles, read.errors) == ({}, [])
    assert read.notes == [f"{tmp_path}/profiles/b.yml: is not read: a file of a profile ends in .yaml"]


def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "a.yaml").symlink_to(tmp_path / "nowhere")
    [error] = Read(tmp_path).errors
    assert str(error) == f"{tmp_path}/profiles/a.yaml: cannot be read: No such file or directory"


def test_a_folder_that_cannot_be_looked_at_is_said(tmp_path: Path) -> None:
    write(tmp_path, "profiles", "x")
    assert Read(tmp_path).notes == [f"{tmp_path}/profiles: cannot be looked at: Not a directory"]


def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "MOST_FILES", 3)
    for name in "abcde":
        write(tmp_path, f"profiles/{name}.yaml", f"name: {name}\n")
    read = Read(tmp_path)
    assert len(read.profiles) == 3
    assert read.notes == [f"{tmp_path}/profiles: holds more than 3 files: not all are read"]
