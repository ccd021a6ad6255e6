"""Images and their norm tables on the device."""

from exact_cntk.kernels.cuda.device import Buffer, Device, Event, Stream
from exact_cntk.kernels.cuda.remote import Remote

# Of images and tables that are made on the host before they are sent; two such pieces take turns.
PIECE_BYTES = 16 << 20


class Uploader:
    """Makes images and tables by the core, with all its threads, and sends them while the device computes."""

    def __init__(self, device: Device, remote: Remote) -> None:
        """Allocate two pinned pieces."""
        shape = remote.shape
        self._remote = remote
        self._stream: Stream = device.stream()
        self._piece = max(1, PIECE_BYTES // shape.image_bytes)
        plane = (shape.height, shape.width)
        self._pixels = device.pinned((2, self._piece, shape.channels, *plane), shape.dtype)
        self._norms = device.pinned((2, self._piece, shape.layers, *plane), shape.dtype)
        self._sent: list[Event | None] = [None, None]
        self._turn = 0

    def send(self, columns: bool, first: int, pixels: Buffer, norms: Buffer) -> Event:
        """Fill `pixels` and `norms` for images from `first` on; the event comes to pass when they are there."""
        for start in range(0, len(pixels), self._piece):
            count = min(self._piece, len(pixels) - start)
            sent = self._sent[self._turn]
            if sent is not None:
                sent.synchronize()
            host_pixels, host_norms = self._pixels[self._turn, :count], self._norms[self._turn, :count]
            self._remote.prepare(columns, first + start, host_pixels, host_norms)
            self._stream.upload(host_pixels, pixels[start : start + count])
            self._stream.upload(host_norms, norms[start : start + count])
            event = self._sent[self._turn] = self._stream.record()
            self._turn = 1 - self._turn
        return event

    def settle(self) -> None:
        """Wait until all that was being sent has arrived, whether still needed or not."""
        self._stream.record().synchronize()


class Tables:
    """A chunk of at most `room` images of the rows, or of the columns."""

    def __init__(self, device: Device, uploader: Uploader, remote: Remote, columns: bool, room: int) -> None:
        """Allocate the memory on the device."""
        shape = remote.shape
        plane = (shape.height, shape.width)
        self._uploader = uploader
        self._columns = columns
        self._pixels = device.empty((room, shape.channels, *plane), shape.dtype)
        self._norms = device.empty((room, shape.layers, *plane), shape.dtype)
        self._first = self._present = 0
        self._event: Event | None = None

    def restart(self, first: int) -> None:
        """Take the chunk from image `first` on; before more is sent, no kernel may read another one any more."""
        if first != self._first:
            self._first = self._present = first

    def require(self, stop: int) -> None:
        """Have the images before `stop` sent, as far as they are not yet."""
        if stop > self._present:
            at, end = self._present - self._first, stop - self._first
            self._event = self._uploader.send(self._columns, self._present, self._pixels[at:end], self._norms[at:end])
            self._present = stop

    def pointers(self, stream: Stream, first: int) -> tuple[Buffer, Buffer]:
        """Pixels and norms from image `first` on, for work of `stream`, which waits until all are there."""
        if self._event is not None:
            stream.wait(self._event)
        return self._pixels[first - self._first :], self._norms[first - self._first :]
