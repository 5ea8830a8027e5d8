"""Run ensembles with llm-orc, in its own environment: jobs come as JSON on stdin, observations go to stdout.

It is run by the interpreter of that environment, and imports nothing of stretto. One event loop serves all jobs, since
llm-orc keeps its HTTP client for the life of the process.
"""

import asyncio
import json
import logging
import os
import sys
from pathlib import Path

from llm_orc.core.config.config_manager import ConfigurationManager
from llm_orc.core.config.ensemble_config import EnsembleLoader
from llm_orc.core.execution.executor_factory import ExecutorFactory

SECONDS = 60


async def observe(job):
    """Load and run one job; what is raised counts by its class alone."""
    project, home = Path(job["project"]), Path(job["home"])
    os.environ.update(HOME=str(home), XDG_CONFIG_HOME=str(home / ".config"), XDG_STATE_HOME=str(home / "state"))
    os.chdir(project)
    folder = project / ".llm-orc" / "ensembles"
    try:
        configuration = ConfigurationManager(project_dir=project)
        executor = ExecutorFactory.create_root_executor(project, save_artifacts=False, config_manager=configuration)
        ensemble = EnsembleLoader().load_from_file(str(folder / "e.yaml"), [str(folder)])
    except Exception as error:
        return {"refused": type(error).__name__}
    try:
        result = await asyncio.wait_for(executor.execute(ensemble, job["input"]), SECONDS)
    except Exception as error:
        return {"crashed": type(error).__name__}
    result.pop("validation_result", None)
    return {"result": result}


async def main():
    jobs = json.load(sys.stdin)
    observed = {job["name"]: await observe(job) for job in jobs}
    json.dump(observed, sys.stdout, default=str)


logging.disable(logging.CRITICAL)
asyncio.run(main())
