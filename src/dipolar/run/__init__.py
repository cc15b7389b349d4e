"""How work is spread: one after the other, or over processes. Whoever calls passes the runner in."""

from dipolar.run.runners import AbstractRunner, Processes, Serial

__all__ = ["AbstractRunner", "Processes", "Serial"]
