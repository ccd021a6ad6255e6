"""Compare the numbers of two result folders of one study: blocks, kernels, metrics, sections, tables, figures.

    python tools/compare_results.py results/digits ELSEWHERE/results/digits

Left out is what says where files come from: statements and their checksums, lists of blocks, and provenance. So are the
folders of what differs from run to run, measurements and logs, and the pages that show measurements: report and
notebooks. Kernels are compared as HDF5 reads them, without a mirror image of their blocks.
It ends with exit code 1 if a file is on one side alone, or differs.
"""

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path

import h5py
import numpy as np

STATED = ("made_from", "sha256", "files", "blocks")  # what a file was made from, and checksums
MEASURED = ("benchmarks", "checkpoints", "logs", "notebooks")
LEFT_OUT = (*MEASURED, "provenance", "section_provenance")


def compared_files(folder: Path) -> dict[str, Path]:
    """Files whose content is compared, by their path in the folder."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    return {
        name: path
        for name, path in named.items()
        if name.partition("/")[0] not in LEFT_OUT and path.suffix != ".html" and path.name != "made_from.json"
    }


def difference(old: Path, new: Path) -> str:
    """Where two files differ first; empty if they have the same content."""
    if old.suffix == ".h5":
        return _of_hdf5(old, new)
    if old.suffix == ".json":
        documents = [json.loads(path.read_text(encoding="utf-8")) for path in (old, new)]
        return _of_values(*({k: v for k, v in one.items() if k not in STATED} for one in documents))
    texts = [re.sub(r"<!--.*?-->\n?", "", path.read_text(encoding="utf-8"), flags=re.DOTALL) for path in (old, new)]
    lines = zip(*(text.splitlines() for text in texts), strict=False)
    return "" if texts[0] == texts[1] else next((f"{a!r} | {b!r}" for a, b in lines if a != b), "length")


def _of_hdf5(old: Path, new: Path) -> str:
    with h5py.File(old) as a, h5py.File(new) as b:
        attributes = [
            {name: np.asarray(value).tolist() for name, value in file.attrs.items() if name not in STATED}
            for file in (a, b)
        ]
        if found := _of_values(*attributes, where="attributes"):
            return found
        datasets: list[dict[str, h5py.Dataset]] = [{}, {}]
        for file, names in zip((a, b), datasets, strict=True):
            file.visititems(
                lambda name, item, names=names: names.update(
                    {name: item} if hasattr(item, "shape") and name not in STATED else {}
                )
            )
        if datasets[0].keys() != datasets[1].keys():
            return f"datasets {sorted(datasets[0].keys() ^ datasets[1].keys())}"
        for name, first in datasets[0].items():
            second = datasets[1][name]
            if (first.dtype, first.shape) != (second.dtype, second.shape) or first[()].tobytes() != second[
                ()
            ].tobytes():
                return f"dataset {name}"
    return ""


def _of_values(old: object, new: object, where: str = "") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        if old.keys() != new.keys():
            return f"{where}: keys {sorted(old.keys() ^ new.keys())}"
        return next((found for key in old if (found := _of_values(old[key], new[key], f"{where}/{key}"))), "")
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return next((found for i, pair in pairs if (found := _of_values(*pair, f"{where}/{i}"))), "")
    return "" if json.dumps(old) == json.dumps(new) else f"{where}: {old!r} | {new!r}"


def main(arguments: list[str] | None = None) -> int:
    """Print all differences, and how many files of each folder are the same."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", type=Path, help="A study's folder of results.")
    parser.add_argument("new", type=Path, help="Another one.")
    folders = parser.parse_args(arguments)
    old, new = compared_files(folders.old), compared_files(folders.new)
    same: Counter[str] = Counter()
    differences = [f"{name}: on one side alone" for name in sorted(old.keys() ^ new.keys())]
    for name in sorted(old.keys() & new.keys()):
        if found := difference(old[name], new[name]):
            differences.append(f"{name}: {found}")
        else:
            same[name.partition("/")[0]] += 1
    print("\n".join(differences), end="\n" if differences else "")
    print(f"the same: {', '.join(f'{folder} {count}' for folder, count in sorted(same.items())) or 'nothing'}")
    print(f"different: {len(differences)}")
    return bool(differences)


if __name__ == "__main__":
    sys.exit(main())
