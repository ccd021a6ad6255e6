"""What JPEG costs a copy of CIFAR-10: accuracy against the error of encoding once more, extrapolated to no error.

    python -m recording.jpeg_quality --data cifar10-jpeg.tar.xz --out docs/results/jpeg-quality.json

A copy that was encoded once, at quality 75, has lost something that only the official files could tell. So it is lost
once more, independently: the images are encoded with the blocks of 8×8 pixels shifted by half a block against those of
the copy, at several qualities, and CNTK-V is fitted to the same subsets again. Encoding at the copy's own quality adds
about the error that the copy has already. A straight line through accuracy against added error, common to all subsets
but for its height, is followed that far back beyond 0.
"""

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from exact_cntk import cntk, kernel_regression
from exact_cntk.data import Dataset, load_cifar10
from exact_cntk.errors import UserError
from exact_cntk.kernels.backends import describe_backend
from exact_cntk.study.documents import write_json
from exact_cntk.study.provenance import provenance, source_digest
from recording.real.clock import Clock, OutOfTimeError
from recording.real.images import is_jpeg_archive, read_jpegs, standardised

FORMAT_VERSION = 1
SOURCE_QUALITY = 75
QUALITIES = (90, 75, 60, 45, 30)
SHIFT = 4  # half a block
DTYPE = "float32"


def reencoded(images: np.ndarray, quality: int | None) -> np.ndarray:
    """Images uint8 (n, P, Q, 3) after one more encoding, its blocks shifted by half a block; None: as they are.

    Edges are continued by reflection and cut off again. Colour is subsampled 2×2, the encoder's default.
    """
    from PIL import Image

    if quality is None:
        return images
    result = np.empty_like(images)
    height, width = images.shape[1:3]
    for i, image in enumerate(images):
        framed = np.pad(image, [(SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)], mode="reflect")
        buffer = io.BytesIO()
        Image.fromarray(framed).save(buffer, "JPEG", quality=quality)
        decoded = np.asarray(Image.open(buffer).convert("RGB"))
        result[i] = decoded[SHIFT : SHIFT + height, SHIFT : SHIFT + width]
    return result


class Experiment:
    """The measurements, written to a JSON file one by one.

    Parameters
    ----------
    raw : Dataset
    path : Path
    depths : tuple of int
    train_images, test_images : int
        Of a subset; the first of the test set.
    backend : str
    clock : Clock
    """

    def __init__(
        self,
        raw: Dataset,
        path: Path,
        depths: tuple[int, ...],
        train_images: int,
        test_images: int,
        backend: str,
        clock: Clock,
    ) -> None:
        self.raw, self.path, self.depths, self.clock = raw, path, depths, clock
        self.train_images, self.test_images = train_images, test_images
        self.backend = describe_backend(backend)
        data = standardised(raw)
        self.mean, self.std = np.asarray(data.mean), np.asarray(data.std)
        self.document = self._begin(data.digest)

    def _begin(self, digest: str) -> dict[str, Any]:
        """A new document, or the existing one if it is of the same experiment."""
        origin = {
            "format_version": FORMAT_VERSION,
            "dataset": self.raw.name,
            "data_digest": digest,
            "kernel": "CNTK-V",
            "depths": list(self.depths),
            "train_images": self.train_images,
            "test_images": self.test_images,
            "source_quality": SOURCE_QUALITY,
        }
        if not self.path.exists():
            return origin | {"measurements": []}
        before = json.loads(self.path.read_text())
        for key, value in origin.items():
            if before.get(key) != value:
                raise UserError(f"{self.path} has {key} = {before.get(key)!r}, not {value!r}: name another file")
        return before

    def run(self, qualities: tuple[int, ...], subsets: int) -> None:
        """Measure what is not in the file yet: subset by subset, the images as they are first."""
        done = {(m["quality"], m["subset"]) for m in self.document["measurements"]}
        for subset in range(subsets):
            for quality in (None, *qualities):
                if (quality, subset) not in done:
                    self._measure(quality, subset)

    def _measure(self, quality: int | None, subset: int) -> None:
        raw, n = self.raw, self.train_images
        chunk = slice(n * subset, n * (subset + 1))
        work = float(n * (n + 2 * self.test_images) * max(self.depths))
        self.clock.require(f"quality {quality}, subset {subset}", "kernel", work)
        left = self.clock.left
        train, train_error = self._images(raw.train_images[chunk], quality)
        test, test_error = self._images(raw.test_images[: self.test_images], quality)
        options: dict[str, Any] = {"depths": self.depths, "readout": "flatten", "backend": self.backend.name}
        options |= {"dtype": DTYPE, "progress": self.clock.tick}
        K, K_test = cntk(train, **options), cntk(test, train, **options)
        accuracy = {}
        for depth in self.depths:
            fit = kernel_regression(
                K["ntk", depth],
                raw.train_labels[chunk],
                K_test["ntk", depth],
                dtype=DTYPE,
            )
            accuracy[str(depth)] = float(fit.test_accuracy(raw.test_labels[: self.test_images])[0])
        if self.clock.budget is not None:
            self.clock.learn("kernel", work, left - self.clock.left)
        error = (n * train_error + self.test_images * test_error) / (n + self.test_images)
        self.document["measurements"].append(
            {"quality": quality, "subset": subset, "added_mse": float(f"{error:.6g}"), "accuracy": accuracy}
        )
        self._write()
        print(f"quality {quality}, subset {subset}: MSE {error:.2e}, {accuracy}", file=sys.stderr, flush=True)

    def _images(self, images: np.ndarray, quality: int | None) -> tuple[np.ndarray, float]:
        """Standardised by the source's channels, and the mean squared error added, in units of full scale."""
        encoded = reencoded(images, quality)
        error = float(((encoded.astype(np.float64) - images) ** 2).mean()) / self.raw.full_scale**2
        return ((encoded / float(self.raw.full_scale) - self.mean) / self.std).astype(np.float32), error

    def _write(self) -> None:
        where = provenance(
            parameters={},
            data={},
            backend=self.backend.name,
            instruction_set=self.backend.instruction_set,
        )
        kept = {key: where[key] for key in ("backend", "instruction_set", "packages", "git", "hardware")}
        self.document["provenance"] = kept | {"device": self.backend.device, "source_digest": source_digest()}
        write_json(self.path, self.document)


class Extrapolation(NamedTuple):
    """A depth's line through accuracy against added error.

    Attributes
    ----------
    depth : int
    subsets, points : int
        Heights and measurements of the fit.
    accuracy : float
        Mean over subsets of the copy as it is (fraction).
    source_mse : float
        What the copy is taken to have lost already.
    slope : float
        Fraction per unit of mean squared error.
    gain, low, high : float
        Accuracy at no error less `accuracy`, and its 95 % interval (Student's t on points − subsets − 1 degrees).
    residual : float
        Standard deviation of the measurements about the line.
    """

    depth: int
    subsets: int
    points: int
    accuracy: float
    source_mse: float
    slope: float
    gain: float
    low: float
    high: float
    residual: float


def extrapolate(document: dict[str, Any]) -> list[Extrapolation]:
    """Least squares for each depth: accuracy = height of the subset + slope · added error; empty with too few."""
    from scipy.stats import t

    rows = document["measurements"]
    own = [row["added_mse"] for row in rows if row["quality"] == document["source_quality"]]
    subsets = sorted({row["subset"] for row in rows})
    degrees = len(rows) - len(subsets) - 1
    if not own or degrees < 1:
        return []
    source = float(np.mean(own))
    added = np.array([row["added_mse"] for row in rows])
    heights = np.array([[row["subset"] == subset for subset in subsets] for row in rows], dtype=float)
    design = np.column_stack([heights, added])
    result = []
    for depth in document["depths"]:
        accuracy = np.array([row["accuracy"][str(depth)] for row in rows])
        plain = np.array([row["accuracy"][str(depth)] for row in rows if row["quality"] is None])
        coefficients = np.linalg.lstsq(design, accuracy, rcond=None)[0]
        residual = float(np.sqrt(((accuracy - design @ coefficients) ** 2).sum() / degrees))
        error = residual * float(np.sqrt(np.linalg.inv(design.T @ design)[-1, -1]))
        slope, reach = float(coefficients[-1]), float(t.ppf(0.975, degrees)) * error
        gain, half = -slope * source, reach * source
        values = (float(plain.mean()), source, slope, gain, gain - half, gain + half, residual)
        result.append(Extrapolation(depth, len(subsets), len(rows), *values))
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m recording.jpeg_quality", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="tar archive of JPEGs, or CIFAR-10 itself")
    parser.add_argument("--out", type=Path, default=Path("docs/results/jpeg-quality.json"))
    parser.add_argument("--subsets", type=int, default=5)
    parser.add_argument("--train-images", type=int, default=2000)
    parser.add_argument("--test-images", type=int, default=10_000)
    parser.add_argument("--depths", default="3,4,6,11,21")
    parser.add_argument("--qualities", default=",".join(map(str, QUALITIES)))
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="stop cleanly after so long")
    options = parser.parse_args(arguments)
    clock = Clock(options.budget)
    depths, qualities = (tuple(map(int, text.split(","))) for text in (options.depths, options.qualities))
    try:
        raw = read_jpegs(options.data) if _is_copy(options.data) else load_cifar10(options.data, allow_unverified=True)
        sizes = (options.train_images, options.test_images)
        Experiment(raw, options.out, depths, *sizes, options.backend, clock).run(qualities, options.subsets)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OutOfTimeError as error:
        print(f"stopped: {error}; continue with the same command", file=sys.stderr)
    return 0


def _is_copy(path: Path) -> bool:
    return path.is_file() and is_jpeg_archive(path)


if __name__ == "__main__":
    sys.exit(main())
