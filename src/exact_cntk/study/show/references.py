"""The published numbers that the study is compared with, out of references.yaml."""

from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml


@cache
def read() -> dict[str, Any]:
    """The whole of references.yaml as plain containers; treat it as read-only, it is read once."""
    text = files(__package__).joinpath("references.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def citation(source: str) -> str:
    """One line that names a source, e.g. ``On Exact Computation … (arXiv:1904.11955v2)``."""
    entry = read()["sources"][source]
    arxiv = f" (arXiv:{entry['arxiv']}{entry.get('version', '')})" if "arxiv" in entry else ""
    return entry["title"] + arxiv


def table1() -> pd.DataFrame:
    """Table 1 of the paper, tidy.

    Returns
    -------
    DataFrame
        One row for each column of the table and each depth: `column` (the paper's heading; v1's two CNN columns are
        marked so), `model` ("cnn" | "cntk"), `readout` ("flatten" | "gap"), `train_images`, `depth`,
        `accuracy` (test accuracy on CIFAR-10, fraction) and `source`.
    """
    table = read()["table1"]
    rows = [
        {
            "column": column["name"],
            "model": column["model"],
            "readout": column["readout"],
            "train_images": column["train_images"],
            "depth": depth,
            "accuracy": percent / 100,
            "source": column["source"],
        }
        for column in table["columns"]
        for depth, percent in zip(table["depths"], column["accuracy"], strict=True)
    ]
    return pd.DataFrame(rows)


def table1_wide(version: str = "v2") -> pd.DataFrame:
    """Table 1 as the paper prints it: one row a depth, one column a heading, test accuracy in percent.

    Parameters
    ----------
    version : {"v2", "all"}
        "all" adds the two CNN columns of the paper's first version.
    """
    table = read()["table1"]
    columns = {c["name"]: c["accuracy"] for c in table["columns"] if version == "all" or c["source"] == "paper"}
    return pd.DataFrame(columns, index=pd.Index(table["depths"], name="depth"))


def table2() -> pd.DataFrame:
    """Table 2 (appendix B): random features against exact kernels on two classes; percent, one row a depth."""
    table = read()["table2"]
    columns = {column["name"]: column["accuracy"] for column in table["columns"]}
    return pd.DataFrame(columns, index=pd.Index(table["depths"], name="depth"))


def paper_kernel(readout: str, train_images: int) -> pd.DataFrame | None:
    """The paper's kernel regression column for a readout and a number of training images, or None.

    Returns
    -------
    DataFrame or None
        The rows of `table1` of that column.
    """
    table = table1()
    chosen = table[(table.model == "cntk") & (table.readout == readout) & (table.train_images == train_images)]
    return None if chosen.empty else chosen.reset_index(drop=True)


def review() -> pd.DataFrame:
    """The review's reproduction: `column`, `readout`, `accuracy` (fraction), `depth`, `train_images`, `test_images`."""
    entry = read()["review"]
    shared = {key: entry[key] for key in ("depth", "train_images", "test_images", "source")}
    rows = [
        {"column": c["name"], "readout": c["readout"], "accuracy": c["accuracy"] / 100, **shared}
        for c in entry["columns"]
    ]
    return pd.DataFrame(rows)


def follow_ups() -> pd.DataFrame:
    """What later papers reached on the whole of CIFAR-10.

    Returns
    -------
    DataFrame
        `method` in words, `conv_layers`, `accuracy` (fraction), `source`; `kind` ("ntk" | "nngp"), `readout` ("lap" |
        "gap"), `pooling_window` (of "lap", in pixels) and `flips`. Missing: not recorded.
    """
    frame = pd.DataFrame(read()["follow_ups"])
    frame["accuracy"] /= 100
    frame["conv_layers"] = frame["conv_layers"].astype("Int64")
    frame["pooling_window"] = 2 * frame["pooling_radius"].astype("Int64") + 1
    names = ["method", "conv_layers", "accuracy", "source", "kind", "readout", "pooling_window", "flips"]
    return frame[names]
