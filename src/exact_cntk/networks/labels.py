"""What people read of networks and kernels: the paper's names where it has some, and words."""

from exact_cntk.networks.family import Family

READOUT_NAMES = {"flatten": "vanilla", "lap": "LAP", "gap": "GAP"}

# The paper's names, of networks with filters of 3×3 and without flips.
_KERNELS: dict[tuple[str, tuple[str, ...], str], str] = {
    ("flatten", ("all",), "ntk"): "CNTK-V",
    ("gap", ("hidden",), "ntk"): "CNTK-GAP",
    ("flatten", ("all",), "nngp"): "CNN-GP-V",
    ("gap", ("hidden",), "nngp"): "CNN-GP-GAP",
}
_NETWORKS = {"flatten": "CNN-V", "gap": "CNN-GAP"}


def kernel_label(name: str, family: Family, kind: str) -> str:
    """The paper's name of a kernel where it has one, else the name that the family has in the study, and the kind."""
    plain = family.filter_size == 3 and not family.flips
    label = _KERNELS.get((family.readout, family.trained, kind)) if plain else None
    return label or f"{name} {kind.upper()}"


def network_label(name: str, family: Family) -> str:
    """The paper's name of trained networks of finite width where it has one, else the family's in the study."""
    plain = family.filter_size == 3 and family.trained == ("all",)
    return _NETWORKS.get(family.readout, name) if plain else name


def readout_label(family: Family) -> str:
    """The readout in words: "vanilla", "LAP 3×3", "GAP, flips"."""
    window = f" {family.pooling_window}×{family.pooling_window}" if family.pooling_window else ""
    return READOUT_NAMES[family.readout] + window + (", flips" if family.flips else "")


def kind_label(kind: str, trained: str | None) -> str:
    """A kind of kernel in words: "NTK" (all layers trained), "NTK, hidden" (only those) or "CNN-GP"."""
    return "CNN-GP" if kind == "nngp" else "NTK" + (", hidden" if trained == "hidden" else "")
