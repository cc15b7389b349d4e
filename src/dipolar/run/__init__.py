"""How work is spread: one after the other, over processes, or over a cluster. Whoever calls passes the runner in."""

from dipolar.run.jobs_dask import DaskJobs
from dipolar.run.runners import AbstractRunner, Processes, Serial

__all__ = ["AbstractRunner", "DaskJobs", "Processes", "Serial"]
