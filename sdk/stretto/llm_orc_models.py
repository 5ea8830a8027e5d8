"""Find the models that llm-orc's keys name: an agent's own, and those that stand in for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .findings import Findings
from .inline_secrets import without_secrets
from .llm_orc_params import Wishes, WishReader
from .llm_orc_provider import Reached, reached
from .profiles import Profile
from .surroundings import Surroundings
from .tiers import LOCAL
from .yaml_text import Place, Section, excerpt

FALLBACK = "fallback_model_profile"
MOST_STANDING_IN = 50  # for one model


@dataclass(frozen=True, slots=True)
class Choice:
    """A model that an agent may ask.

    Args:
        name: of its profile; None when the agent itself says what it asks.
        values: the keys of the profile, else the agent's own.
        file: where the values stand; None: in the ensemble's own file.
        wishes: what the profile wants requests to hold.
        reached: model and address; a sentence when it cannot be used; None: the ensemble's model.
        cure: what to do about one that cannot be used.
        said: whether it was said already why it cannot be used.
    """

    name: str | None
    values: Section
    file: str | None
    wishes: Wishes
    reached: Reached | str | None
    cure: str = ""
    said: bool = False

    @property
    def usable(self) -> bool:
        """Whether it can be asked."""
        return not isinstance(self.reached, str)

    @property
    def provider(self) -> str | None:
        """llm-orc's name of its provider."""
        given = self.values.get("provider")
        return given if isinstance(given, str) else None

    def place(self, key: str) -> Place:
        """Give the place of a key, or of what stands for it."""
        places = self.values.keys_at
        return places.get(key) or places.get("provider") or places.get("model") or self.values.place


class Models:
    """The models of one file's agents; each profile is read once.

    Args:
        findings: of the file.
        around: where the profiles are.
        environ: the environment.
    """

    def __init__(self, findings: Findings, around: Surroundings, environ: Mapping[str, str]) -> None:
        self._findings = findings
        self._around = around
        self._environ = environ
        self._read: dict[str, Choice | None] = {}
        self._unnamed: dict[str, str] = {}

    def chosen(self, section: Section, agent: str | None) -> list[Choice]:
        """Give the models that an agent asks, in order: its own first, also when it cannot be used.

        An empty list says that its keys are wrong.
        """
        own = self._own(section, agent)
        if own is None:
            return []
        found = [own, *self._standing_in(own, section, agent)]
        usable = [one for one in found if one.usable]
        for one in found:
            if one.usable or one.said:
                continue
            after = "it is passed over"
            if one is own:
                after = f"{usable[0].name} takes its place" if usable else "the agent fails without a call"
            key = FALLBACK if one is not own else "provider" if one.name is None else "model_profile"
            message = ": ".join(part for part in (str(one.reached), one.cure) if part)
            self._findings.warn(message, _at(section, key), key, agent, after=after)
        return found

    def _own(self, section: Section, agent: str | None) -> Choice | None:
        profile, model, provider = (section.get(key) for key in ("model_profile", "model", "provider"))
        other = "model" if model is not None else "provider"
        if profile is not None and (model is not None or provider is not None):
            message, key = f"model_profile and {other} exclude each other: leave one of them out", other
        elif provider is not None and model is None:
            message, key = "provider needs model beside it", "provider"
        else:
            base_url = section.get("base_url")
            base_url = base_url if isinstance(base_url, str) else None
            if profile is not None:
                own = self._profile(profile) or self._undefined(profile)
                if base_url is None or not own.values:
                    return own
                return replace(own, reached=self._reached(own.values, base_url))
            # Without a provider it is stretto's own; whether it is known is said when a runner looks for it.
            found = None if provider is None else self._reached(section, base_url)
            return Choice(None, section, None, Wishes(), found)
        self._findings.wrong(message, _at(section, key), key, agent)
        return None

    def _reached(self, values: Section, base_url: str | None) -> Reached | str:
        return reached(values.get("model"), values.get("provider"), base_url, self._environ)

    def _undefined(self, name: str) -> Choice:
        why = self._named_by_none(name)
        # It may stand in a file that cannot be read, which is an error then.
        said = bool(self._around.profiles.errors)
        return Choice(name, Section(Place(1, 1)), None, Wishes(), why, self._cure(why), said)

    def _named_by_none(self, name: str) -> str:
        """Give the sentence for a profile that is not there, once for each name."""
        if name not in self._unnamed:
            for error in self._around.profiles.errors:
                self._findings.add(error)
            near = self._findings.suggestions.nearest(name, self._around.profiles.named)
            hint = "" if near is None else f" (did you mean {near!r}?)"
            self._unnamed[name] = f"no profile is named {excerpt(name)}{hint}"
        return self._unnamed[name]

    def _cure(self, why: str) -> str:
        """Say where profiles are looked for, and in strict files, whose notes nobody sees, what was passed over."""
        profiles = self._around.profiles
        passed = "; ".join(profiles.notes[:2]) if self._findings.strict else ""
        if passed or why.endswith("?)"):  # either says enough
            return passed
        return f"define it in {' or '.join(profiles.places)}" if profiles.places else f"there is no folder {LOCAL}"

    def _profile(self, name: str) -> Choice | None:
        if name not in self._read:
            if not self._read:
                self._say_of_all()
            profile = self._around.profiles.named.get(name)
            self._read[name] = None if profile is None else self._choice(profile)
        return self._read[name]

    def _say_of_all(self) -> None:
        """Say what is wrong with files of profiles, when the first agent names a profile."""
        for error in self._around.profiles.errors:
            if self._findings.strict:
                self._findings.add(error)
            else:
                self._findings.note(str(error))
        for note in self._around.profiles.notes:
            self._findings.note(note)

    def _choice(self, profile: Profile) -> Choice:
        errors, notes = profile.complaints(strict=self._findings.strict)
        for error in errors:
            self._findings.add(error)
        for note in notes:
            self._findings.note(note)
        what = f"the profile {excerpt(profile.name)}"
        values = without_secrets(profile.values, self._findings, file=profile.file, what=f"{what}: ")
        wishes = WishReader(self._findings, None, profile.file).read(values)
        found = self._reached(values, values.get("base_url"))
        if isinstance(found, str):
            found = f"{what} cannot be used: {found}"
        return Choice(profile.name, values, profile.file, wishes, found, said=bool(errors))

    def _standing_in(self, own: Choice, section: Section, agent: str | None) -> list[Choice]:
        """Give what stands in: the agent's own, then along the profiles, beginning with its model's."""
        first, found = section.get(FALLBACK), list[Choice]()
        if first is not None and first == own.name:
            message = f"{FALLBACK} names {excerpt(first)}, for which it is to stand in"
            self._findings.warn(message, _at(section, FALLBACK), FALLBACK, agent)
        elif first is not None:
            found.append(self._profile(first) or self._undefined(first))
        path, last = {own.name or "": None}, own
        while last.name is not None and (name := last.values.get(FALLBACK)) is not None:
            what = f"{FALLBACK} of the profile {excerpt(last.name)}"
            if len(path) > MOST_STANDING_IN:
                message = f"{what} is not followed: no more than {MOST_STANDING_IN} profiles stand in for a model"
                self._findings.warn(message, last.place(FALLBACK), FALLBACK, file=last.file)
                break
            if name in path:
                names = list(path)
                ring = " -> ".join([*names[names.index(name) :], name])
                self._findings.warn(f"{what} closes a circle: {ring}", last.place(FALLBACK), FALLBACK, file=last.file)
                break
            following = self._profile(name)
            if following is None:
                message = f"{what}: {self._named_by_none(name)}"
                self._findings.warn(message, last.place(FALLBACK), FALLBACK, file=last.file)
                break
            path[name] = None
            last = following
            if name != first:
                found.append(following)
        return found


def _at(section: Section, key: str) -> Place:
    return section.keys_at.get(key, section.place)
