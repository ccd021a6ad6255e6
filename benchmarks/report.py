"""The benchmark's results as Markdown."""

from benchmarks import against_neural_tangents as nt
from benchmarks import speed


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table, numbers right-aligned."""
    marks = ["---"] + ["---:"] * (len(header) - 1)
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *rows)]


def in_billions(rate: float, required: float | None = None) -> str:
    """Format a rate in 10⁹, three digits, with a mark where it is below what is required."""
    return f"{rate / 1e9:.3g}" + (" ↓" if required is not None and rate < required else "")


def rows_alone(alone: dict) -> list[list[str]]:
    """Return a row for each instruction set and number of threads: rates per core."""
    rows = []
    for name, by_threads in alone.items():
        for threads, rates in by_threads.items():
            per_core = [
                in_billions(rates[case.name] / int(threads), speed.required(case, name) if threads == "1" else None)
                for case in speed.CASES
            ]
            rows.append([f"{name}, {threads} thread{'s' * (threads != '1')}", *per_core])
    return rows


def rows_of_comparison(comparison: dict) -> list[list[str]]:
    """Return both sides' rates and, for each instruction set, how many times faster we are."""
    names = [case.name for case in nt.BLOCKS]
    reference = comparison["theirs"]
    rows = [
        [f"neural-tangents, {dtype}", *(in_billions(rates[name]) for name in names)]
        for dtype, rates in reference.items()
    ]
    best = {name: max(rates[name] for rates in reference.values()) for name in names}
    for instruction_set, rates in comparison["ours"].items():
        rows.append([f"exact_cntk, {instruction_set}", *(in_billions(rates[name]) for name in names)])
        ratios = []
        for name in names:
            ratio = rates[name] / best[name]
            below = ratio < nt.REQUIRED.get(instruction_set, {}).get(name, 0)
            ratios.append(f"{ratio:.0f}×" + " ↓" * below)
        rows.append([f"ratio to the faster dtype, {instruction_set}", *ratios])
    return rows


def as_markdown(result: dict) -> str:
    """Return the whole page: machine, speed alone, speed compared with neural-tangents, agreement."""
    lines = ["# Speed of the exact kernels", ""]
    lines += [f"- {label}: {text}" for label, text in result["machine"].items()]
    depths = ", ".join(map(str, speed.DEPTHS))
    lines += ["", f"## Alone: 10⁹ element-layers a second and core, float32, depths {depths} in one pass", ""]
    lines += table(["", *(case.name for case in speed.CASES)], rows_alone(result["alone"]))
    lines += ["", "Medians. ↓: below what the project asks of one core with that instruction set."]
    if comparison := result.get("beside"):
        title = f"## Compared with {comparison['versions']}: 10⁹ element-layers/s on all cores, {nt.LAYERS} ReLU layers"
        lines += ["", title, ""]
        lines += table(["", *(case.name for case in nt.BLOCKS)], rows_of_comparison(comparison))
        lines += ["", "## Agreement with neural-tangents in float64: largest relative difference", ""]
        rows = [
            [key, f"{worst:.1e}", f"{nt.TOLERANCES[tuple(key.split())]:.0e}"]
            for key, worst in comparison["agreement"].items()
        ]
        lines += table(["backend and dtype", "difference", "allowed"], rows)
    return "\n".join(lines)
