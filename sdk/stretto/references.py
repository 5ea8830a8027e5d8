"""Find the ensembles that agents name, each file once in a run: it means the same from the run's begin to its end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from .errors import ConfigError
from .thread import in_thread

if TYPE_CHECKING:
    from .ensemble import Ensemble


class References:
    """The ensembles that were named in one run."""

    __slots__ = ("_by_file", "_by_name", "_reading")

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, str | None], Ensemble] = {}
        self._by_file: dict[str, Ensemble] = {}
        self._reading = asyncio.Lock()

    def find(self, name: str, ensemble: Ensemble) -> Ensemble:
        """Find the ensemble that an agent of another one names; its own file says how strictly it is read.

        Raises:
            ConfigError: when nothing has that name, or its file is wrong.
        """
        key = (name, ensemble.source)
        found = self._by_name.get(key)
        if found is None:
            from .loading import named_ensemble  # outward, and only when a name stands for a file

            found = named_ensemble(name, ensemble.source)
            if found.source is not None:  # several names may stand for one file
                found = self._by_file.setdefault(found.source, found)
            self._by_name[key] = found
        return found

    async def found(self, name: str, ensemble: Ensemble) -> Ensemble:
        """Find it while a run goes on: reading takes time, and a fan-out asks for the same a thousand times.

        Raises:
            ConfigError: as of `find`, but without what the file holds: agents may be told, and who named it is a model.
        """
        async with self._reading:
            if (name, ensemble.source) in self._by_name:
                return self.find(name, ensemble)
            try:
                found: Ensemble = await in_thread(partial(self.find, ensemble=ensemble), name)
            except ConfigError as error:
                raise _without_content(error) from None
            return found


def _without_content(error: ConfigError) -> ConfigError:
    if error.file is None:  # there is no such file
        return error
    several = len(error.errors) or 1
    message = f"{several} error{'s' * (several > 1)}: `stretto validate {error.file}` says more"
    return ConfigError(message, file=error.file, line=error.line, column=error.column)
