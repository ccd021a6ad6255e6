"""The GPU's results as Markdown."""

from typing import Any

from benchmarks.gpu_rivals import REQUIRED_RATIO
from benchmarks.report import table
from exact_cntk.networks import Family


def as_markdown(result: dict[str, Any]) -> str:
    """Return the whole page: machine, cases, the rivals, what limits the speed."""
    lines = ["# Speed of the exact kernels on a GPU", ""]
    lines += [f"- {label}: {text}" for label, text in result["machine"].items()]
    lines += ["", "## The backend alone: whole blocks, float32, depths 3, 4, 6, 11, 21 in one pass", ""]
    header = ["", "block", "wall (s)", "kernel (s)", "busy", "10⁹ element-layers/s", "asked"]
    lines += table(header, [_case(name, case) for name, case in result["cases"].items()])
    lines += ["", "Rates are of the wall time of the whole call. Kernel: time during which a kernel ran, from events."]
    if clocks := result.get("clocks"):
        lines += ["", f"Clock while this ran: {clocks}."]
    if rivals := result.get("rivals"):
        lines += [
            "",
            "## Beside other ways to the same kernels, on this GPU in the same run: 32×32, 20 ReLU layers",
            "",
        ]
        lines += table(["", "pairs/s", "10⁹ element-layers/s", "we are faster"], _rivals(result, rivals))
        lines += [
            "",
            "Each gives one depth and takes the whole tensor through its layers for both readouts. Their",
            "element-layers are the tensor's, here those that the readout needs: for `flatten` only pairs/s compare.",
            f"At least {REQUIRED_RATIO}× the released algorithm is asked of `gap`.",
            "Relative difference to the float64 reference, on small images:",
            ", ".join(f"{name} {text}" for name, text in result["agreement"].items()) + ".",
        ]
        lines += ["", "Published by neural-tangents about itself, not measured here:", ""]
        lines += table(["one NTK entry", "published (s)", "the same network here (s)"], _published(result))
    for title, text in result.get("bounds", {}).items():
        lines += ["", f"## {title}", "", "```", text.strip(), "```"]
    if result.get("profile"):
        lines += ["", "## Counters of the kernel (Nsight Compute)", ""]
        columns = list(result["profile"])
        labels = dict.fromkeys(label for values in result["profile"].values() for label in values)
        rows = [[label, *(result["profile"][name].get(label, "") for name in columns)] for label in labels]
        lines += table(["", *columns], rows)
    if result.get("failures"):
        lines += ["", "## Not done", "", *(f"- {name}: {text}" for name, text in result["failures"].items())]
    return "\n".join(lines)


def _case(name: str, case: dict[str, Any]) -> list[str]:
    below = case["required"] is not None and case["rate"] < case["required"]
    return [
        name,
        f"{case['images']} × {case['images']}",
        f"{case['wall']:.2f}",
        "" if case["kernel"] is None else f"{case['kernel']:.2f}",
        "" if case["busy"] is None else f"{100 * case['busy']:.1f} %",
        f"{case['rate'] / 1e9:.3g}" + " ↓" * below,
        "" if case["required"] is None else f"{case['required'] / 1e9:.3g}",
    ]


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """Ratio of this project's pairs per second to each rival's, by its name."""
    cases = {"gap": result["cases"].get("gap 32×32"), "flatten": result["cases"].get("flatten 32×32")}
    return {
        name: case["images"] ** 2 / case["wall"] / rival["pairs_a_second"]
        for name, rival in result.get("rivals", {}).items()
        if (case := cases[rival["readout"]]) is not None
    }


def _rivals(result: dict[str, Any], rivals: dict[str, Any]) -> list[list[str]]:
    times = ratios(result)
    rows = []
    for name, rival in rivals.items():
        ratio = times.get(name)
        low = name.startswith("released") and rival["readout"] == "gap" and ratio is not None and ratio < REQUIRED_RATIO
        text = "" if ratio is None else f"{ratio:,.0f}×" + " ↓" * low
        rows.append([name, f"{rival['pairs_a_second']:.4g}", f"{rival['rate'] / 1e9:.3g}", text])
    return rows


def _published(result: dict[str, Any]) -> list[list[str]]:
    """Their entry of 21 convolutions: as many ReLU layers, at our rate of the same readout."""
    rows = []
    for entry in result["published"]:
        readout = "flatten" if "without pooling" in entry["what"] else "gap"
        case = result["cases"].get(f"{readout} 32×32")
        work = Family(readout).element_layers(1, (32, 32), 22)
        rows.append(
            [
                f"{entry['what']} ({entry['note']})",
                f"{entry['seconds']:.3g}",
                f"{work / case['rate']:.3g}" if case else "",
            ]
        )
    return rows
