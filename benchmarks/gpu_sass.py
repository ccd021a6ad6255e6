"""Machine instructions of the tuned kernel's inner layer, by pipe, and the bounds that they set on an H100 or H200.

`python -m benchmarks.gpu_sass` compiles the pooling kernel for 32×32 pixels and prints what one inner layer (no sums
asked for) issues an entry. No GPU is needed, but a disassembler: cuobjdump of a CUDA toolkit, or of the Triton package.
"""

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from exact_cntk.kernels.cuda import plan
from exact_cntk.kernels.cuda.remote import PassShape

ARCHITECTURE = "sm_90"
# An H100 or H200, SXM: multiprocessors, boost clock, and warp instructions that each issues in a cycle.
PROCESSORS, CLOCK, SLOTS = 132, 1.98e9, 4
LANES = 32
LANE_ENTRIES = 32

# Warp instructions that a multiprocessor takes in a cycle, by pipe; everything passes the issue slots as well.
PIPES = {
    "FMA": (4, r"FFMA|FMUL|FADD"),
    "special functions": (0.5, r"MUFU"),
    "shared memory and shuffles": (1, r"SHFL|LDS|STS|LDGSTS"),
    "other": (2, r""),
}


def disassembler() -> str:
    """Path of cuobjdump.

    Raises
    ------
    RuntimeError
        There is none.
    """
    if found := shutil.which("cuobjdump"):
        return found
    if triton := importlib.util.find_spec("triton"):
        bundled = Path(str(triton.origin)).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        if bundled.exists():
            return str(bundled)
    raise RuntimeError("cuobjdump is neither on the path nor in an installed Triton")


def tuned_source() -> str:
    """The pooling kernel for 32×32 pixels and 3×3 filters, hidden layers trained, depth 21."""
    sizes = {"height": 32, "width": 32, "channels": 3, "radius": 1, "layers": 20, "emissions": 5, "fields": 1}
    pooling = {"pooling": True, "reach": (31, 31), "pooling_radius": -1}
    recursion = {"dtype": np.dtype(np.float32), "theta_from_sigma": False, "arccos_degree": 7}
    variant = plan.choose_variant(PassShape(**sizes, **pooling, **recursion))
    # Any coefficients that need all bits do: the instructions are the same.
    coefficients = [np.pi, 1, 2, *(2 * (-1) ** k / (2 * k + 1) for k in range(1, 8))]
    return plan.program(variant, np.array([coefficients], dtype=np.float32))


def compile_cubin(source: str) -> bytes:
    """Compile with nvcc's assembler where it is installed, which its disassembler can read; otherwise with NVRTC's."""
    if nvcc := shutil.which("nvcc"):
        with tempfile.TemporaryDirectory() as folder:
            file, cubin = Path(folder, "kernel.cu"), Path(folder, "kernel.cubin")
            file.write_text(source, encoding="utf-8")
            options = [*plan.OPTIONS, "-ftz=true", f"-arch={ARCHITECTURE}", "-cubin", "-o", str(cubin)]
            subprocess.run([nvcc, *options, str(file)], check=True, capture_output=True)
            return cubin.read_bytes()
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(source, "torus.cu", [], [])
    nvrtc.compileProgram(program, [*plan.OPTIONS, "-ftz=true", f"-arch={ARCHITECTURE}"])
    return nvrtc.getCUBIN(program)


def instructions(cubin: bytes) -> list[tuple[int, str]]:
    """Address and text of every machine instruction."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([disassembler(), "-sass", file.name], capture_output=True, text=True, check=True)
    found = re.findall(r"^\s+/\*([0-9a-f]{4,6})\*/\s+(.*?);", done.stdout, flags=re.MULTILINE)
    if not found:
        raise RuntimeError(f"the disassembler cannot read what the compiler made: {done.stdout[-300:]}{done.stderr}")
    return [(int(address, 16), text.strip()) for address, text in found]


def operation(text: str) -> str:
    """Name of an instruction, without predicate and modifiers."""
    return re.sub(r"^@!?U?P\w+\s+", "", text).split()[0].split(".")[0]


def straight_lines(code: list[tuple[int, str]]) -> list[list[str]]:
    """Cut where branches start or arrive."""
    arrivals = {int(match[1], 16) for _, text in code if (match := re.search(r"BRA.*?(0x[0-9a-f]+)", text))}
    lines: list[list[str]] = [[]]
    for address, text in code:
        if address in arrivals:
            lines.append([])
        lines[-1].append(text)
        if operation(text) in ("BRA", "EXIT", "RET"):
            lines.append([])
    return [line for line in lines if line]


def inner_layer(code: list[tuple[int, str]]) -> Counter[str]:
    """Instructions of the inner layer.

    Of the copies of the layer those that filter shuffle, and of these the inner one is the shortest. Its first entries
    may lie in a piece of code that it shares with another copy.
    """
    counts = [Counter(operation(text) for text in line) for line in straight_lines(code)]
    copies = [count for count in counts if count["SHFL"] and count["MUFU"] >= LANE_ENTRIES]
    if not copies:
        raise RuntimeError("no piece of the machine code looks like a layer")
    inner = min(copies, key=lambda count: count.total())
    missing = 2 * LANE_ENTRIES - inner["MUFU"]  # two special functions an entry
    shared = [count for count in counts if missing and count["MUFU"] == missing and not count["SHFL"]]
    return inner + (shared[0] if shared else Counter())


def step_overhead(code: list[tuple[int, str]]) -> int:
    """Instructions a layer outside its arithmetic: waiting for tables, copying the next ones, choosing the copy."""
    lines = straight_lines(code)
    counts = [Counter(operation(text) for text in line) for line in lines]
    first = max(k for k, count in enumerate(counts) if count["DEPBAR"] or (count["WARPSYNC"] and count["BAR"]))
    last = next(k for k in range(first, len(lines)) if counts[k]["MUFU"])
    # Between them lie also the channels' products and the first filter, which only the start of a plane needs.
    return sum(
        len(line) for line, count in zip(lines[first:last], counts[first:last], strict=True) if not count["FFMA"]
    )


def report() -> list[str]:
    """Lines of the table."""
    code = instructions(compile_cubin(tuned_source()))
    count = inner_layer(code)
    entries = count["MUFU"] / 2
    overhead = step_overhead(code) / LANE_ENTRIES
    cycles = PROCESSORS * CLOCK * LANES
    lines = [f"{ARCHITECTURE}: {count.total()} instructions for {entries:g} entries of the inner layer, each:"]
    rest = count.copy()
    total = count.total() / entries + overhead
    for pipe, (rate, pattern) in PIPES.items():
        names = [name for name in rest if re.fullmatch(pattern, name)] if pattern else list(rest)
        number = sum(rest.pop(name) for name in names) / entries
        by_name = ", ".join(
            f"{count[name] / entries:.2f} {name}" for name in sorted(names, key=lambda n: -count[n])[:4]
        )
        bound = f"bound {cycles * rate / number:.2e}/s" if number else ""
        lines.append(f"  {pipe:28} {number:6.2f}  {bound:15}  {by_name}")
    lines += [
        f"  {'copies, barrier, branches':28} {overhead:6.2f}",
        f"  {'issue slots':28} {total:6.2f}  bound {cycles * SLOTS / total:.2e} element-layers/s "
        f"on {PROCESSORS} multiprocessors at {CLOCK / 1e9} GHz",
    ]
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Print the counts; exit status 1 if there is no disassembler for them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_sass", description=__doc__)
    parser.parse_args(arguments)
    try:
        print("\n".join(report()))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
