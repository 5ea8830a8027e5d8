"""stretto as this side: a case is loaded, run, and observed in the same form as the other's."""

from __future__ import annotations

from compat.answering import Answering
from compat.case import Case
from compat.observation import Observation, observation
from compat.project import Project
from stretto import ConfigError, Runner, load


async def observed(case: Case, at: Project, server: Answering, place: str) -> Observation:
    """Run a case with stretto; refused is what raises a ConfigError before any call."""
    try:
        ensemble = load(at.ensemble)
        async with Runner(allow_scripts=True) as runner:
            run = await runner.run(ensemble, case.input)
    except ConfigError as error:
        each = error.errors or (error,)
        return {"accepted": False, "places": [(one.file, one.line) for one in each], "message": str(error)}
    return observation(case, run.to_dict(format="llm-orc"), run.phases, server.requests[place])
