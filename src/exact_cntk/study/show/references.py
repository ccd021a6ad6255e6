"""The published numbers that the study is compared with, from references.yaml."""

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
        marked), `model` ("cnn" | "cntk"), `readout` ("flatten" | "gap"), `train_images`, `depth`, `accuracy` (test
        accuracy on CIFAR-10, fraction) and `source`.
    """
    table = read()["table1"]
    columns = pd.DataFrame(table["columns"]).rename(columns={"name": "column"})
    columns["depth"] = [table["depths"]] * len(columns)
    tidy = columns.explode(["depth", "accuracy"], ignore_index=True)
    tidy = tidy.assign(depth=tidy.depth.astype(int), accuracy=tidy.accuracy.astype(float) / 100)
    return tidy[["column", "model", "readout", "train_images", "depth", "accuracy", "source"]]


def table1_wide(version: str = "v2") -> pd.DataFrame:
    """Table 1 as printed in the paper: one row per depth, one column per heading, test accuracy in percent.

    Parameters
    ----------
    version : {"v2", "all"}
        "all" adds the two CNN columns of the paper's first version.
    """
    return _wide([c for c in read()["table1"]["columns"] if version == "all" or c["source"] == "paper"], "table1")


def table1_printed(version: str = "v2") -> pd.DataFrame:
    """`table1_wide` for people: texts with two decimals."""
    return table1_wide(version).map("{:.2f}".format).reset_index()


def table2() -> pd.DataFrame:
    """Table 2 (appendix B): random features and exact kernels on two classes; percent, one row per depth."""
    return _wide(read()["table2"]["columns"], "table2")


def _wide(columns: list[dict[str, Any]], table: str) -> pd.DataFrame:
    values = {column["name"]: column["accuracy"] for column in columns}
    return pd.DataFrame(values, index=pd.Index(read()[table]["depths"], name="depth"))


def paper_kernel(readout: str, train_images: int) -> pd.DataFrame | None:
    """Rows of `table1` of the paper's kernel for a readout and a number of training images; None if it has none."""
    table = table1()
    chosen = table[(table.model == "cntk") & (table.readout == readout) & (table.train_images == train_images)]
    return None if chosen.empty else chosen.reset_index(drop=True)


def review() -> pd.DataFrame:
    """The review's reproduction: `column`, `readout`, `accuracy` (fraction), `depth`, `train_images`, `test_images`."""
    entry = read()["review"]
    table = pd.DataFrame(entry["columns"]).rename(columns={"name": "column"})
    table["accuracy"] = table.accuracy / 100
    return table.assign(**{name: entry[name] for name in ("depth", "train_images", "test_images", "source")})


def follow_ups() -> pd.DataFrame:
    """Accuracies in later papers on the whole of CIFAR-10.

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
    return frame[["method", "conv_layers", "accuracy", "source", "kind", "readout", "pooling_window", "flips"]]
