"""Blocks of diffraction patterns through LiberTEM: its file formats, its cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.errors import FormatError, MissingExtraError, ScanError, SettingsError
from dipolar.core.scanning import AbstractFrames
from dipolar.run.scan_blocks import AbstractExecutor, Block, Span, Work, block_size, one_block
from dipolar.run.scan_threads import networks_kept

PART_BYTES = 64 << 20
"""Patterns in one partition: LiberTEM's own readers copy some formats, a partition at once."""
PART_BLOCKS = 64
"""Blocks in one partition of our own frames, which are read block by block."""
PARTS = 8
"""Partitions per worker at least, so that none waits long for the others at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiberTem(AbstractExecutor):
    """Several partitions at once, in LiberTEM's executor.

    With `path`, LiberTEM reads the file itself; HDF5 and MRC are left to the frames all the same, as LiberTEM cuts
    these into partitions of its own and caches chunks without end.
    """

    path: str | Path | None = None
    """The file of the same scan as LiberTEM shall open it; None reads through the frames, of whatever format."""
    kind: str = "auto"
    """LiberTEM's name of its format, such as "mib", "raw", "frms6"."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What LiberTEM wants to know besides, such as ``nav_shape``."""
    cluster: str = "inline"
    """"inline": in this thread; "threads" and "local": in threads or processes of this machine; or the address of a
    cluster that runs, ``tcp://HOST:PORT``."""
    workers: int = 2
    """Number of threads or processes on this machine."""

    def __post_init__(self) -> None:
        """Refuse what is no place to work in."""
        if (self.cluster not in ("inline", "threads", "local") and "://" not in self.cluster) or self.workers < 1:
            raise SettingsError(
                "LiberTEM works inline, over threads, over a local cluster, or over one that runs.",
                got=f"cluster={self.cluster!r}, workers={self.workers}",
                do='cluster="local", workers=2, or cluster="tcp://HOST:8786"',
            )

    def blocks(self, frames: AbstractFrames, work: Work, spans: Iterable[Span | None]) -> Iterator[Block]:
        """Yield partitions as they come back.

        Raises
        ------
        SettingsError
            If the file still grows, which LiberTEM does not follow; or the cluster does not answer.
        FormatError
            If LiberTEM cannot open `path`.
        ScanError
            If what it finds there is another scan, or its cluster goes away.
        MissingExtraError
            If LiberTEM is not installed.
        """
        todo = list(_all(spans))
        if not todo:
            return
        _installed()
        from dipolar.run import scan_libertem_udf as inside

        with networks_kept(), self._context() as context:
            dataset = None if self.path is None else self._opened(context, frames, todo[-1][1])
            most = PART_BLOCKS if dataset is None else max(1, PART_BYTES // _block_bytes(frames))
            parts = _parts(todo, min(most, max(1, len(todo) // (PARTS * self.workers))))
            told = _template(frames, work, todo[0])
            if dataset is None:
                dataset = inside.FramesDataSet(frames, parts, todo[-1][1])
                udf = inside.WorkOnBlocks(work=work, template=told)
            else:
                inside.cut(dataset, [(part[0][0], part[-1][1]) for part in parts])
                udf = inside.WorkOnPartitions(work=work, template=told, block=block_size(frames))
            yield from self._results(context, dataset, udf, [name for name, *_ in told])

    def _results(self, context: Any, dataset: Any, udf: Any, names: list[str]) -> Iterator[Block]:
        """Yield what is new in the results after every partition."""
        given: np.ndarray | None = None
        results: Any = None
        try:
            results = context.run_udf_iter(dataset=dataset, udf=udf, progress=False)
            for result in results:
                done = np.asarray(result.damage.raw_data).ravel()
                new = done if given is None else done & ~given
                given = done.copy()
                buffers = result.buffers[0]
                for start, stop in _runs(new):
                    values = {
                        name: np.array(buffers[f"value{number}"].raw_data[start:stop])
                        for number, name in enumerate(names)
                    }
                    yield start, stop, values
        except Exception as error:
            theirs = type(error).__module__.partition(".")[0] in ("distributed", "libertem")
            if not (theirs or isinstance(error, OSError)):
                raise
            raise ScanError(
                f"LiberTEM's cluster ({self.cluster}) and its workers must stay until the scan is done.",
                got=f"{type(error).__name__}: {error}",
                do="the same command: what was finished is kept; or --workers N, where a lost worker costs time only",
            ) from error
        finally:
            if results is not None:
                results.close()

    @contextmanager
    def _context(self) -> Iterator[Any]:
        from libertem.api import Context
        from libertem.executor.dask import DaskJobExecutor
        from libertem.executor.inline import InlineJobExecutor

        from dipolar.run.runners import no_interruption

        try:
            with no_interruption():  # inherited by processes that begin here
                if self.cluster == "inline":
                    context = Context(executor=InlineJobExecutor(inline_threads=1))
                elif self.cluster == "threads":
                    context = Context.make_with("threads", cpus=self.workers)
                elif self.cluster == "local":
                    context = Context(executor=_local(self.workers))
                else:
                    context = Context(executor=DaskJobExecutor.connect(self.cluster))
        except (OSError, ValueError, TypeError) as error:
            raise SettingsError(
                f"the LiberTEM cluster at {self.cluster} must answer.",
                got=str(error) or type(error).__name__,
                do='see that it runs; or cluster="local", workers=2',
            ) from error
        with context:
            yield context

    def _opened(self, context: Any, frames: AbstractFrames, count: int) -> Any:
        """Return LiberTEM's data set, or None where it is of a kind that is left to the frames."""
        try:
            dataset = context.load(self.kind, path=str(self.path), **self.options)
        except Exception as error:  # its readers raise whatever their libraries do
            raise FormatError(
                f"LiberTEM must be able to open {Path(str(self.path)).name} as {self.kind!r}.",
                got=str(error),
                do="LiberTem(path=None), which reads through dipolar",
            ) from error
        if type(dataset).__name__ in ("H5DataSet", "MRCDataSet"):
            return None
        shape = tuple(dataset.shape.sig)
        if shape != tuple(frames.shape_px) or dataset.shape.nav.size < count:
            raise ScanError(
                f"LiberTEM must find the same {count} patterns of {frames.shape_px} px as dipolar does.",
                got=f"{dataset.shape.nav.size} patterns of {shape} px in {Path(str(self.path)).name}",
                do='options={"nav_shape": (SCAN_Y, SCAN_X)}, or LiberTem(path=None)',
            )
        return dataset


def _local(workers: int) -> Any:
    """Start LiberTEM's own kind of cluster, which listens to this machine only and serves no page."""
    from distributed import Scheduler
    from libertem.executor.dask import DaskJobExecutor, cluster_spec

    options = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    own = {"host": "127.0.0.1", "memory_limit": 0, "silence_logs": logging.CRITICAL}
    return DaskJobExecutor.make_local(
        # mapped pages of a file would count against a limit of memory, and workers be ended for reading
        spec=cluster_spec(workers, (), False, num_service=0, options=own),
        cluster_kwargs={"scheduler": {"cls": Scheduler, "options": options}, "silence_logs": logging.CRITICAL},
    )


def _all(spans: Iterable[Span | None]) -> Iterator[Span]:
    for span in spans:
        if span is None:
            raise SettingsError(
                "LiberTEM works on files that are complete.",
                got="a file that still grows",
                do="follow it with threads, or --workers N, which uses Dask",
            )
        yield span


def _block_bytes(frames: AbstractFrames) -> int:
    return block_size(frames) * frames.shape_px[0] * frames.shape_px[1] * frames.dtype.itemsize


def _parts(spans: list[Span], most: int) -> list[list[Span]]:
    """Return neighbouring blocks together, at most so many."""
    parts: list[list[Span]] = []
    for span in spans:
        if parts and len(parts[-1]) < most and parts[-1][-1][1] == span[0]:
            parts[-1].append(span)
        else:
            parts.append([span])
    return parts


def _template(frames: AbstractFrames, work: Work, span: Span) -> list[tuple[str, np.dtype, tuple[int, ...]]]:
    """Return names, types and shapes of what the work gives, which LiberTEM must know before."""
    _, _, values = one_block(frames, work, (span[0], span[0] + 1))
    return [(name, array.dtype, array.shape[1:]) for name, array in values.items()]


def _runs(new: np.ndarray) -> list[Span]:
    """Return where a row of booleans is true, run by run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], new, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _installed() -> None:
    try:
        import libertem.api  # noqa: F401 - to see that all it needs is there
    except ImportError as error:
        raise MissingExtraError(
            "this way of working is LiberTEM's, which is not installed.",
            got=str(error),
            do="pip install dipolar[libertem]",
        ) from error
