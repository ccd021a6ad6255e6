"""Which result files the study of small training sets has, and what they cost; cheap to import."""

from collections.abc import Mapping
from typing import Any

from exact_cntk.blocks._grid import kernel_name


def method_names(params: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of the result files of a study, ``small_data/<name>.json``, by the verb that makes them.

    Parameters
    ----------
    params : mapping
        Of a study, checked.

    Returns
    -------
    dict
        `kernel`, `baseline`, `cnn`: all empty if the study has no small training sets.
    """
    small = params["small_data"]
    if small is None:
        return {"kernel": [], "baseline": [], "cnn": []}
    return {
        "kernel": [kernel_name(one["family"], one["depth"]) for one in small["kernels"]],
        "baseline": list(small["baselines"]),
        "cnn": [f"network-{one['name']}" for one in (small["cnns"] or {"families": []})["families"]],
    }
