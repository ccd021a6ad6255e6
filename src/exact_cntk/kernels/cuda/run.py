"""The pass over all pairs: the device computes stripes of sums while the host finishes those before."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from exact_cntk._support.machine import format_gib
from exact_cntk._support.progress import Progress
from exact_cntk.kernels.cpu import POLL_SECONDS
from exact_cntk.kernels.cuda import plan
from exact_cntk.kernels.cuda.device import Device, DeviceMemoryError, Event, Kernel, Stream
from exact_cntk.kernels.cuda.remote import PassShape, Remote
from exact_cntk.kernels.cuda.stripes import Pace, Stripe, chunk_sizes, cut, stripe_capacity, stripe_pairs, tile_list
from exact_cntk.kernels.cuda.tables import Tables, Uploader
from exact_cntk.kernels.spec import OnRows

# Stripes in flight: one that the host finishes, one that runs, and one that starts when its blocks find room.
SLOTS = 3


class _Slot:
    """What one stripe in flight works with."""

    def __init__(self, device: Device, shape: PassShape, workspace: int, capacity: int) -> None:
        self.capacity = capacity
        self.stream: Stream = device.stream()
        self.tiles = device.empty((capacity, 2), np.int32)
        self.sums = device.empty((shape.sums * capacity,), np.float64)
        self.near = device.empty((shape.near_counts * capacity,), np.int32)
        self.workspace = device.empty((workspace,), shape.dtype) if workspace else None
        self.host_tiles = device.pinned((capacity, 2), np.int32)
        self.host_sums = device.pinned((shape.sums * capacity,), np.float64)
        self.host_near = device.pinned((shape.near_counts * capacity,), np.int32)
        self.pairs = 0
        self.started: Event
        self.ended: Event
        self.downloaded: Event


class Run:
    """One call's work on one device; `kernel_seconds` counts the time in which at least one kernel ran.

    The remote has the gains of the variant. Images and tables take at most `table_share` of the device's free memory;
    where it does not suffice, making a run raises DeviceMemoryError.
    """

    def __init__(self, device: Device, remote: Remote, variant: plan.Variant, table_share: float) -> None:
        """Compile the kernel and allocate everything."""
        self._remote, self._variant, self._shape = remote, variant, remote.shape
        request = remote.call.request
        self._n, self._m, self._symmetric = int(request.n), int(request.m), request.x2 is None
        self._blocks = variant.blocks_per_sm * device.properties.processors
        self._kernel, self._constants = self._load_kernel(device)
        self._pace = Pace(self._shape.element_layers, device.properties.processors)
        self._slots = self._make_slots(device)
        self._rows, self._columns, self._chunks = self._make_tables(device, table_share)
        self._in_flight: deque[tuple[Future[None], Stripe]] = deque()
        self._last_ended: Event | None = None
        self.kernel_seconds = 0.0

    def _load_kernel(self, device: Device) -> tuple[Kernel, tuple[Any, Any]]:
        """Compile the kernel; send emissions and constants of the layers."""
        variant = self._variant
        emission, constants = self._remote.constants()
        source = plan.program(variant, constants)
        kernel = device.compile(source, plan.OPTIONS, variant.entry, variant.shared_bytes, variant.blocks_per_sm)
        stream = device.stream()
        sent = []
        for values in (emission, constants):
            host = device.pinned(values.shape, values.dtype)
            host[...] = values
            sent.append(device.empty(values.shape, values.dtype))
            stream.upload(host, sent[-1])
            stream.record().synchronize()
        return kernel, (sent[0], sent[1])

    def _make_slots(self, device: Device) -> list[_Slot]:
        shape, tile_pairs = self._shape, self._variant.tile[0] * self._variant.tile[1]
        bytes_per_pair = 8 * shape.sums + 4 * shape.near_counts + 4 * 2
        capacity = min(stripe_capacity(device.free_bytes(), bytes_per_pair, SLOTS), self._n * self._m)
        capacity = max(capacity, tile_pairs)
        workspace = self._variant.workspace_scalars * self._blocks
        return [_Slot(device, shape, workspace, capacity) for _ in range(SLOTS)]

    def _make_tables(self, device: Device, share: float) -> tuple[Tables, Tables, tuple[int, int]]:
        """Tables of rows and columns, the same object where one holds all images of both, and their sizes."""
        uploader = self._uploader = Uploader(device, self._remote)
        free = device.free_bytes()
        chunks = chunk_sizes(int(share * free), self._shape.image_bytes, self._n, None if self._symmetric else self._m)
        if chunks is None:
            raise DeviceMemoryError(f"{format_gib(free)} free")
        rows = Tables(device, uploader, self._remote, False, chunks[0])
        if self._symmetric and chunks[0] == self._n:
            return rows, rows, chunks
        return rows, Tables(device, uploader, self._remote, True, chunks[1]), chunks

    def all_pairs(self, progress: Progress | None, on_rows: OnRows | None) -> None:
        """Do it all, and return or raise with nothing left running."""
        finisher = ThreadPoolExecutor(1, thread_name_prefix="exact_cntk sums")
        number = 0
        try:
            for rows, columns, stripes in self._rectangles():
                # The tables may be those of the last rectangle, to be filled anew.
                while self._in_flight:
                    self._take_oldest(progress, on_rows)
                for stripe in stripes:
                    if len(self._in_flight) == SLOTS:
                        self._take_oldest(progress, on_rows)
                    slot = self._slots[number % SLOTS]
                    number += 1
                    self._launch(slot, stripe, rows, columns)
                    self._in_flight.append((finisher.submit(self._finish, slot, stripe), stripe))
            while self._in_flight:
                self._take_oldest(progress, on_rows)
        except BaseException:
            self._remote.call.cancel()
            raise
        finally:
            finisher.shutdown(cancel_futures=True)
            # Until then the device may read and write memory that is about to be given back.
            self._uploader.settle()
            for slot in self._slots:
                slot.stream.record().synchronize()
        if progress is not None:
            progress(self._remote.call.total, self._remote.call.total)

    def _rectangles(self) -> Iterator[tuple[Tables, Tables, Iterator[Stripe]]]:
        """Chunks of images against chunks of images: tables, ready to be filled, and stripes of pairs."""
        row_starts, column_starts = range(0, self._n, self._chunks[0]), range(0, self._m, self._chunks[1])
        if self._symmetric:
            for c in column_starts:
                self._columns.restart(c)
                for r in row_starts[column_starts.index(c) :]:
                    # On the diagonal the images are the same.
                    rows = self._columns if r == c else self._rows
                    rows.restart(r)
                    yield rows, self._columns, self._stripes(r, c, completes=r == row_starts[-1])
        else:
            for r in row_starts:
                self._rows.restart(r)
                for c in column_starts:
                    self._columns.restart(c)
                    yield self._rows, self._columns, self._stripes(r, c, completes=c == column_starts[-1])

    def _stripes(self, row: int, column: int, *, completes: bool) -> Iterator[Stripe]:
        tile = self._variant.tile
        most = self._slots[0].capacity
        fewest = min(self._blocks * tile[0] * tile[1], most)
        return cut(
            (row, min(row + self._chunks[0], self._n)),
            (column, min(column + self._chunks[1], self._m)),
            symmetric=self._symmetric,
            completes=completes,
            tile=tile,
            target=lambda: stripe_pairs(self._pace.pairs_per_second, fewest=fewest, most=most),
        )

    def _launch(self, slot: _Slot, stripe: Stripe, rows: Tables, columns: Tables) -> None:
        """Queue all that the device does for a stripe."""
        variant, shape, stream = self._variant, self._shape, slot.stream
        rows.require(stripe.row + stripe.rows)
        columns.require(stripe.column + stripe.columns)
        crosses = self._symmetric and stripe.column + stripe.columns - 1 > stripe.row
        tiles = tile_list(stripe.rows, stripe.columns, variant.tile, stripe.column - stripe.row if crosses else None)
        count = len(tiles)
        slot.pairs = min(stripe.pairs, count * variant.tile[0] * variant.tile[1])
        slot.host_tiles[:count] = tiles
        stream.upload(slot.host_tiles[:count], slot.tiles[:count])
        images = (*rows.pointers(stream, stripe.row), *columns.pointers(stream, stripe.column))
        sizes = (count, stripe.rows, stripe.columns, shape.channels, shape.layers)
        slot.started = stream.record()
        stream.launch(
            self._kernel,
            min(count, self._blocks),
            variant.threads,
            (*images, slot.tiles, *sizes, *self._constants, slot.workspace, slot.sums, slot.near),
        )
        slot.ended = stream.record()
        for device_part, host_part, numbers in (
            (slot.sums, slot.host_sums, shape.sums),
            (slot.near, slot.host_near, shape.near_counts),
        ):
            stream.download(device_part[: numbers * stripe.pairs], host_part[: numbers * stripe.pairs])
        slot.downloaded = stream.record()

    def _finish(self, slot: _Slot, stripe: Stripe) -> None:
        """In the finishing thread: wait for the sums of a stripe, and write its outputs."""
        slot.downloaded.synchronize()
        # Kernels of two stripes overlap where one ends and the next begins.
        seconds = whole = slot.ended.seconds_since(slot.started)
        if self._last_ended is not None:
            seconds = max(0.0, min(seconds, slot.ended.seconds_since(self._last_ended)))
        self._last_ended = slot.ended
        self.kernel_seconds += seconds
        # A small stripe may end together with the large one before it, as if it took no time, though they shared it.
        self._pace.measured(slot.pairs, max(seconds, whole / SLOTS))
        self._remote.finish(stripe.row, stripe.rows, stripe.column, stripe.columns, slot.host_sums, slot.host_near)

    def _take_oldest(self, progress: Progress | None, on_rows: OnRows | None) -> None:
        """Wait for the oldest stripe in flight, open to Ctrl-C, and report."""
        future, stripe = self._in_flight.popleft()
        while wait([future], POLL_SECONDS).not_done:
            self._report(progress)
        future.result()
        self._report(progress)
        if on_rows is not None and stripe.final is not None:
            start, stop = stripe.final
            on_rows(start, self._remote.call.out[:, start:stop])

    def _report(self, progress: Progress | None) -> None:
        if progress is not None:
            progress(self._remote.call.done, self._remote.call.total)
