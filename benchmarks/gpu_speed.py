"""Time the backend `cuda` on this machine's GPU, alone and compared with two other ways to the same kernels.

Prints the table and writes it to benchmarks/results/, for reading and as JSON.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import gpu_rivals
from benchmarks.gpu_cases import CASES, GpuCase, clocks_sampled, measure
from benchmarks.gpu_profile import profile
from benchmarks.gpu_report import as_markdown
from benchmarks.machine import ROOT, describe, gpus
from exact_cntk.study.provenance import source_digest

RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("cupy-cuda13x", "cupy-cuda12x", "torch")


def log(message: str) -> None:
    """Say on stderr what comes next, so that stdout holds nothing but the page."""
    print(message, file=sys.stderr, flush=True)


class Suite:
    """The timings, one after the other; what fails is noted and does not end the run.

    Parameters
    ----------
    backend : str
    seconds, rate : float
        A block is so large that it takes about so long at so many element-layers a second.
    cupy : module, optional
        What the released algorithm runs on; by default CuPy.
    torch_device : str
    """

    def __init__(
        self,
        backend: str = "cuda",
        *,
        seconds: float,
        rate: float,
        cupy: ModuleType | None = None,
        torch_device: str = "cuda",
    ) -> None:
        self.backend, self.seconds, self.rate = backend, seconds, rate
        self.cupy, self.torch_device = cupy, torch_device
        self.result: dict[str, Any] = {"machine": machine(backend), "cases": {}, "failures": {}}

    def time_cases(self, cases: tuple[GpuCase, ...], keep: Callable[[], object]) -> None:
        """Time our backend; `keep` is called after each case, whatever time the rest may take."""
        with clocks_sampled() as samples:
            for case in cases:
                timing = self._attempt(
                    case.name, lambda case=case: measure(case, self.backend, self.seconds, self.rate)
                )
                if timing is not None:
                    self.result["cases"][case.name] = timing
                    keep()
        if samples:
            clock, power = (statistics.median(column) for column in zip(*samples, strict=True))
            highest = max(clock for clock, _ in samples)
            self.result["clocks"] = f"{clock:.0f} MHz (median, {highest:.0f} at most), {power:.0f} W"

    def time_rivals(self, size: int = 32, seconds: float = 2.0) -> None:
        """Time the other ways, once they agree with the reference."""
        makers: dict[str, Callable[[], gpu_rivals.Kernel]] = {
            "released algorithm": lambda: gpu_rivals.released(self.cupy or _import("cupy")),
            "plain torch": lambda: gpu_rivals.whole_tensors(self.torch_device),
        }
        self.result |= {
            "rivals": {},
            "agreement": {},
            "published": self._attempt("published figures", gpu_rivals.published) or [],
        }
        for name, make in makers.items():
            kernel = self._attempt(name, make)
            worst = (
                None
                if kernel is None
                else self._attempt(name, lambda kernel=kernel: gpu_rivals.compare(kernel, min(size, 8)))
            )
            if worst is None:
                continue
            self.result["agreement"][name] = f"{worst:.1e}"
            for readout in ("gap", "flatten"):
                label = f"{name}, {readout}"
                timing = self._attempt(
                    label,
                    lambda k=kernel, r=readout: gpu_rivals.measure(k, r, seconds, size, pairs=16 if size > 8 else 4),
                )
                if timing is not None:
                    self.result["rivals"][label] = timing | {"readout": readout}

    def count_instructions(self) -> None:
        """Add the bound that the machine code sets."""
        text = self._attempt("bound from the machine code", _instruction_counts)
        if text is not None:
            self.result["bounds"] = {"What bounds it: instructions in the machine code": text}

    def read_counters(self, names: tuple[str, ...]) -> None:
        """Add Nsight Compute's counters."""
        profiles = {name: self._attempt(f"counters, {name}", lambda name=name: profile(name)) for name in names}
        self.result["profile"] = {name: values for name, values in profiles.items() if values}

    def _attempt(self, name: str, work: Callable[[], Any]) -> Any:
        """The value of `work`, or None with a note of what went wrong: one failure must not cost the other timings."""
        log(f"{name} …")
        try:
            return work()
        except Exception as error:
            self.result["failures"][name] = f"{type(error).__name__}: {error}"
            log(f"  failed: {error}")
            return None


def machine(backend: str) -> dict[str, str]:
    """What the timings belong to."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    description = {"GPU": "; ".join(gpus()) or "none", "backend": backend, **describe("python -m benchmarks.gpu_speed")}
    description["versions"] += "".join(f", {name} {number}" for name, number in found.items())
    if backend == "cuda":
        from exact_cntk.kernels.cuda.device import describe_software

        description["CUDA"] = ", ".join(f"{name} {number}" for name, number in describe_software().items())
    description["source"] = f"sha256 {source_digest()[:16]} of the package's own files"
    return description


def _import(name: str) -> ModuleType:
    import importlib

    return importlib.import_module(name)


def _instruction_counts() -> str:
    command = [sys.executable, "-m", "benchmarks.gpu_sass"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-800:] or f"exit status {done.returncode}")
    return done.stdout


def main(arguments: list[str] | None = None) -> int:
    """Run the suite; exit status 1 if something could not be done."""
    options = _options(arguments)
    cases = tuple(case for case in CASES if not options.only or case.name in options.only)
    if not cases:
        log(f"--only is {options.only}; allowed are {', '.join(case.name for case in CASES)}")
        return 2
    suite = Suite(
        options.backend,
        seconds=options.seconds,
        rate=options.rate,
        torch_device="cuda" if options.backend in ("auto", "cuda") else "cpu",
    )

    def keep() -> str:
        text = as_markdown(suite.result)
        if not options.no_files:
            _write(options.out, suite.result, text)
        return text

    suite.time_cases(cases, keep)
    keep()
    if not options.alone:
        suite.time_rivals(options.rival_size, min(2.0, options.seconds))
        suite.count_instructions()
    if options.profile:
        suite.read_counters(tuple(case.name for case in cases if case.required))
    print(keep())
    return 1 if suite.result["failures"] else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_speed", description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default="cuda", help="cpu tries the suite out where there is no GPU")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a block, about (default %(default)s)")
    parser.add_argument("--rate", type=float, default=7e11, help="element-layers/s expected (default %(default)g)")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="these cases by name")
    parser.add_argument("--alone", action="store_true", help="leave the rivals and the bound out")
    parser.add_argument("--rival-size", type=int, default=32, help="side of the rivals' images (default %(default)s)")
    parser.add_argument("--profile", action="store_true", help="read counters through ncu as well")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (default benchmarks/results)")
    parser.add_argument("--no-files", action="store_true", help="print only")
    return parser.parse_args(arguments)


def _write(folder: Path, result: dict[str, Any], text: str) -> None:
    name = result["machine"]["GPU"].partition(",")[0]
    stem = re.sub(r"[^a-z0-9]+", "-", f"gpu {name}".lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.md").write_text(text + "\n")
    (folder / f"{stem}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    log(f"Written to {folder / stem}.md and .json")


if __name__ == "__main__":
    sys.exit(main())
