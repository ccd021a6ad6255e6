"""How many element-layers a second the CPU backend computes, case by case, for one instruction set.

One element-layer is one entry of a pair's covariance tensor through one ReLU layer. The instruction set is chosen when
the core is loaded, so each is timed in a process of its own: `python -m benchmarks.speed`, which prints JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks.images import cifar_like
from benchmarks.machine import ROOT

INSTRUCTION_SETS = ("avx512", "avx2", "portable")
DEPTHS = (3, 4, 6, 11, 21)
# The portable code takes ten times as long, so it gets a ninth of the pairs.
FEWER_IMAGES = {"avx512": 1, "avx2": 1, "portable": 3}


@dataclass(frozen=True)
class Case:
    """One timing: all pairs of n images with n others."""

    readout: str
    size: int
    images: int  # up to two seconds on one core with AVX-512; the square of it is the number of pairs

    @property
    def name(self) -> str:
        """Short name, as in the table's heading."""
        return f"{self.readout} {self.size}×{self.size}"

    @property
    def entries(self) -> int:
        """Entries of one pair's covariance tensor that the readout needs."""
        pixels = self.size**2
        return pixels**2 if self.readout == "gap" else pixels


CASES = (
    Case("gap", 32, 8),
    Case("gap", 28, 10),
    Case("gap", 16, 32),
    Case("gap", 8, 100),
    # The block of the studies on CIFAR-10 at hand has 500 images a side; with fewer, preparing them weighs more.
    Case("flatten", 32, 400),
    Case("flatten", 8, 700),
)

# Required of one core, in element-layers a second: of gap 32×32 and of flatten; 8×8 may be a quarter below.
REQUIRED = {"avx512": {"gap": 2.3e9, "flatten": 2.0e9}, "avx2": {"gap": 1.1e9, "flatten": 1.0e9}}


def required(case: Case, instruction_set: str) -> float | None:
    """Element-layers a second that one core should reach, or None where nothing is asked."""
    rates = REQUIRED.get(instruction_set)
    if rates is None or case.size not in (8, 32):
        return None
    return rates[case.readout] * (0.75 if case.size == 8 else 1.0)


def element_layers(case: Case, depths: tuple[int, ...], images: int) -> int:
    """Work of one call: every pair goes through the deepest network's ReLU layers once."""
    return images**2 * case.entries * (max(depths) - 1)


def rate(case: Case, *, threads: int, repeats: int, depths: tuple[int, ...], fewer: int) -> float:
    """Element-layers a second over all threads: the median of some calls after a first one, which warms up."""
    from exact_cntk import cntk  # here, so that the parent process does not load a core

    images = case.images // fewer
    x = cifar_like(2 * images, case.size, case.size)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        cntk(x[:images], x[images:], depths=depths, readout=case.readout, backend="cpu", threads=threads)
        seconds.append(time.perf_counter() - start)
    return element_layers(case, depths, images) / statistics.median(seconds[1:])


def measure(instruction_set: str, threads: int, repeats: int, depths: tuple[int, ...] = DEPTHS) -> dict[str, float]:
    """Time every case with one instruction set in a fresh process; a CPU that lacks it gives an empty result."""
    command = [sys.executable, "-m", "benchmarks.speed", f"--threads={threads}", f"--repeats={repeats}"]
    command += [f"--depths={','.join(map(str, depths))}", f"--fewer={FEWER_IMAGES[instruction_set]}"]
    environment = {**os.environ, "EXACT_CNTK_ISA": instruction_set}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 2:  # the core's own refusal
        return {}
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def main() -> int:
    """Time every case in this process and print the rates as JSON."""
    from exact_cntk.errors import UserError

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--depths", default=",".join(map(str, DEPTHS)))
    parser.add_argument("--fewer", type=int, default=1, help="divide the numbers of images by this")
    options = parser.parse_args()
    depths = tuple(int(depth) for depth in options.depths.split(","))
    try:
        settings = {"threads": options.threads, "repeats": options.repeats, "depths": depths, "fewer": options.fewer}
        rates = {case.name: rate(case, **settings) for case in CASES}
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(rates))
    return 0


if __name__ == "__main__":
    sys.exit(main())
