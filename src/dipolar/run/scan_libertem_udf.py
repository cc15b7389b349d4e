"""What LiberTEM runs for us: frames as its data set, work as its user-defined function. Imports LiberTEM.

LiberTEM hands out tiles that split the detector; whole patterns come by the partition, or as tiles of our own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from libertem.common import Shape, Slice
from libertem.common.buffers import BufferWrapper
from libertem.io.dataset.base import DataSet, DataSetMeta, DataTile, Partition
from libertem.udf import UDF

from dipolar.core.scanning import AbstractFrames
from dipolar.run.scan_blocks import Span, one_block, one_thread_each


class _GivenFrames(AbstractFrames):
    """Patterns that LiberTEM has read."""

    def __init__(self, patterns: np.ndarray, start: int) -> None:
        self.patterns, self.start = patterns, start

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return some of them, by their numbers in the scan."""
        return self.patterns[start - self.start : stop - self.start]


class _WorkUDF(UDF):  # type: ignore[misc] # LiberTEM has no types for us
    """The work, its values in one result buffer each."""

    def get_result_buffers(self) -> dict[str, BufferWrapper]:
        """Return buffers of one row per pattern."""
        return {
            f"value{number}": self.buffer(kind="nav", dtype=dtype, extra_shape=shape)
            for number, (_, dtype, shape) in enumerate(self.params.template)
        }

    def get_preferred_input_dtype(self) -> Any:
        """Leave the counts as they are stored."""
        return self.USE_NATIVE_DTYPE

    def _work(self, patterns: np.ndarray, block: int) -> None:
        """Fill the buffers, block by block of the grid that everybody keeps."""
        one_thread_each()
        start = int(self.meta.slice.origin[0])
        stop, given = start + len(patterns), _GivenFrames(patterns, start)
        edges = sorted({start, stop, *range(start - start % block + block, stop, block)})
        for first, last in itertools.pairwise(edges):
            _, _, values = one_block(given, self.params.work, (first, last))
            for number, (name, _, shape) in enumerate(self.params.template):
                buffer = getattr(self.results, f"value{number}")
                buffer[first - start : last - start] = values[name].reshape(last - first, *(shape or buffer.shape[1:]))


class WorkOnBlocks(_WorkUDF):
    """For `FramesDataSet`, whose tiles are whole blocks."""

    def process_tile(self, tile: np.ndarray) -> None:
        """Work on one block."""
        self._work(tile, max(1, int(self.meta.slice.origin[0]) + len(tile)))


class WorkOnPartitions(_WorkUDF):
    """For LiberTEM's data sets, which keep patterns whole in partitions only."""

    def process_partition(self, partition: np.ndarray) -> None:
        """Work on one partition."""
        self._work(partition, self.params.block)


class FramesDataSet(DataSet):  # type: ignore[misc]
    """Our frames, as LiberTEM looks at a data set: partitions of whole blocks, each block a tile."""

    def __init__(self, frames: AbstractFrames, parts: list[list[Span]], count: int) -> None:
        """Take the frames, and which blocks of them are asked for."""
        super().__init__()
        self._frames, self._parts = frames, parts
        shape = Shape((count, *frames.shape_px), sig_dims=2)
        self._meta = DataSetMeta(shape=shape, array_backends=("numpy",), raw_dtype=frames.dtype, image_count=count)

    @property
    def dtype(self) -> np.dtype:
        """Type of the counts."""
        return self._frames.dtype

    @property
    def shape(self) -> Shape:
        """(pattern, k_y, k_x)."""
        return self._meta.shape

    @property
    def array_backends(self) -> tuple[str, ...]:
        """NumPy."""
        return ("numpy",)

    def get_partitions(self) -> Iterator[_FramesPartition]:
        """Yield the partitions."""
        for number, spans in enumerate(self._parts):
            partition = _FramesPartition(self._meta, self._frames, spans)
            partition.set_idx(number)
            yield partition

    def adjust_tileshape(self, tileshape: tuple[int, ...], roi: np.ndarray | None) -> tuple[int, ...]:
        """Never split the detector."""
        return (tileshape[0], *self.shape.sig)

    def need_decode(self, read_dtype: Any, roi: Any, corrections: Any) -> bool:
        """Say that nothing is left to decode."""
        return False


class _FramesPartition(Partition):  # type: ignore[misc]
    """Some blocks of the frames."""

    def __init__(self, meta: DataSetMeta, frames: AbstractFrames, spans: list[Span]) -> None:
        part = _slice(spans[0][0], spans[-1][1], frames)
        super().__init__(meta=meta, partition_slice=part, io_backend=None, decoder=None)
        self._frames, self._spans = frames, spans

    def set_corrections(self, corrections: Any) -> None:
        """Leave the counts alone; the work knows of dead pixels itself."""

    def get_locations(self) -> None:
        """Let any worker do it."""

    def get_tiles(
        self, tiling_scheme: Any, dest_dtype: Any = "float32", roi: Any = None, array_backend: Any = None
    ) -> Iterator[DataTile]:
        """Yield one tile per block."""
        for start, stop in self._spans:
            yield DataTile(self._frames.read(start, stop), _slice(start, stop, self._frames), scheme_idx=0)


def _slice(start: int, stop: int, frames: AbstractFrames) -> Slice:
    return Slice(origin=(start, 0, 0), shape=Shape((stop - start, *frames.shape_px), sig_dims=2))


def cut(dataset: DataSet, parts: list[Span]) -> None:
    """Make a data set of LiberTEM's give these partitions and no others."""
    offset = dataset.meta.sync_offset

    def slices() -> Iterator[tuple[Slice, int, int]]:
        for start, stop in parts:
            shape = Shape((stop - start, *dataset.shape.sig), sig_dims=2)
            yield Slice(origin=(start, 0, 0), shape=shape), start + offset, stop + offset

    dataset.get_slices = slices
