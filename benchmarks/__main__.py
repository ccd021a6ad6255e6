"""Time the kernels on this machine, print the table and write it to benchmarks/results/."""

import argparse
import json
import re
import sys

from benchmarks import against_neural_tangents as nt
from benchmarks import speed
from benchmarks.machine import ROOT, cpu_name, describe
from benchmarks.report import as_markdown
from exact_cntk._support.console import escape_output
from exact_cntk._support.machine import cores

RESULTS = ROOT / "benchmarks" / "results"


def log(message: str) -> None:
    """Say on stderr what comes next, so that stdout holds nothing but the table."""
    print(message, file=sys.stderr, flush=True)


def time_alone(repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Time every instruction set that this CPU has, on one core and on all: {set: {"1": {case: rate}}}."""
    table = {}
    for instruction_set in speed.INSTRUCTION_SETS:
        counts = sorted({1, cores()})
        log(f"Timing {instruction_set} on {' and '.join(map(str, counts))} core(s) (up to a minute)")
        rates = {str(threads): speed.measure(instruction_set, threads, repeats) for threads in counts}
        if rates["1"]:
            table[instruction_set] = rates
        else:
            log(f"  this CPU, or this build, has no {instruction_set}")
    return table


def compare_with_neural_tangents(instruction_sets: list[str], repeats: int) -> dict:
    """Time both on all cores, one after the other, in networks of ten ReLU layers."""
    reference = {}
    for dtype in ("float32", "float64"):
        log(f"Timing neural-tangents in {dtype} on all cores (1 to 2 minutes)")
        reference[dtype] = nt.rates(dtype)
    measured = {}
    for name in instruction_sets:
        log(f"Timing {name} on all cores in networks of {nt.LAYERS} layers")
        measured[name] = speed.measure(name, cores(), repeats, depths=(nt.LAYERS + 1,))
    log("Comparing kernels with neural-tangents'")
    return {"versions": nt.versions(), "theirs": reference, "ours": measured, "agreement": nt.agreement()}


def main() -> int:
    """Run the suite; the exit status is 1 if kernels disagree with neural-tangents'."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="calls of which the median is taken (default 5)")
    parser.add_argument("--alone", action="store_true", help="leave neural-tangents out: no second environment")
    options = parser.parse_args()
    escape_output()

    result = {"machine": describe(), "alone": time_alone(options.repeats)}
    if not options.alone:
        try:
            nt.make_environment()
        except nt.NoEnvironmentError as error:
            log(f"Not compared with neural-tangents: {error}")
        else:
            names = [name for name in result["alone"] if name != "portable"]
            result["beside"] = compare_with_neural_tangents(names or ["portable"], options.repeats)

    text = as_markdown(result)
    print(text)
    stem = re.sub(r"[^a-z0-9]+", "-", f"{cpu_name()} {cores()} cores".lower()).strip("-")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{stem}.md").write_text(text + "\n", encoding="utf-8")
    (RESULTS / f"{stem}.json").write_text(json.dumps(result, indent=1) + "\n")
    log(f"Written to {(RESULTS / stem).relative_to(ROOT)}.md and .json")
    agrees = all(nt.TOLERANCES[tuple(key.split())] >= worst for key, worst in nt_agreement(result).items())
    return 0 if agrees else 1


def nt_agreement(result: dict) -> dict[str, float]:
    """Return the differences measured, or nothing where neural-tangents was left out."""
    return result.get("beside", {}).get("agreement", {})


if __name__ == "__main__":
    sys.exit(main())
