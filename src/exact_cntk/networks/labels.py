"""Names of networks and kernels for readers: the paper's where it has some, and words.

The kernel of the kind "nngp" is that of the CNN-GP: of the Gaussian process that a random network of infinite width is.
"""

from exact_cntk.networks.family import Family

READOUT_NAMES = {"flatten": "vanilla", "lap": "LAP", "gap": "GAP"}

# The paper's names, for networks with 3×3 filters and without flips.
_KERNELS: dict[tuple[str, tuple[str, ...], str], str] = {
    ("flatten", ("all",), "ntk"): "CNTK-V",
    ("gap", ("hidden",), "ntk"): "CNTK-GAP",
    ("flatten", ("all",), "nngp"): "CNN-GP-V",
    ("gap", ("hidden",), "nngp"): "CNN-GP-GAP",
}
_NETWORKS = {"flatten": "CNN-V", "gap": "CNN-GAP"}


def kernel_label(name: str, family: Family, kind: str) -> str:
    """The paper's name of a kernel where it has one, else the family's name in the study and the kind."""
    plain = family.filter_size == 3 and not family.flips
    label = _KERNELS.get((family.readout, family.trained, kind)) if plain else None
    return label or f"{name} {kind_label(kind, None)}"


def network_label(name: str, family: Family) -> str:
    """The paper's name of trained networks of finite width where it has one, else the family's name in the study."""
    plain = family.filter_size == 3 and family.trained == ("all",)
    return _NETWORKS.get(family.readout, name) if plain else name


def readout_label(family: Family) -> str:
    """The readout in words: "vanilla", "LAP 3×3", "GAP, flips"."""
    window = f" {family.pooling_window}×{family.pooling_window}" if family.pooling_window else ""
    return READOUT_NAMES[family.readout] + window + (", flips" if family.flips else "")


def kind_label(kind: str, trained: str | None) -> str:
    """A kind of kernel in words: "NTK" (all layers trained), "NTK, hidden" (only those) or "CNN-GP"."""
    return "CNN-GP" if kind == "nngp" else "NTK" + (", hidden" if trained == "hidden" else "")
