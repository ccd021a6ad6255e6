"""The description of a family of networks: checks, the forms in which it is written, and what follows from it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from kernel_files import make_header

from exact_cntk.blocks import Header, Position, Span
from exact_cntk.blocks._merged import Kernel
from exact_cntk.errors import InputError
from exact_cntk.networks import Family, Output, contradictions
from exact_cntk.networks.labels import kernel_label, kind_label, network_label, readout_label

ALL, HIDDEN, BOTH = ("all",), ("hidden",), ("all", "hidden")
GRID = [
    Family(readout, trained, filter_size, window, flips)
    for (readout, window), trained, filter_size, flips in itertools.product(
        [("flatten", None), ("lap", 3), ("lap", 15), ("gap", None)],
        [ALL, HIDDEN, BOTH, BOTH[::-1]],
        [1, 3],
        [False, True],
    )
]


@pytest.mark.parametrize("family", GRID, ids=repr)
def test_every_form_gives_the_family_back(family, data):
    assert Family.parse(family.notation(7), trained=family.trained, flips=family.flips) == (family, 7)
    assert Family.from_parts(family.parts()) == family
    assert Family.from_parts(family.stated_parts(depth=3)) == family
    parts = family.parts()
    assert Family.checked(**parts | {"trained": parts["trained"].split(",")}) == family
    header = make_header(data, Position(Span(0, 9), Span(0, 9)), network=family)
    assert Header.from_attributes(header.attributes()) == header
    shared = {name: getattr(header, name) for name in ("kinds", "backend", "dtype", "data_digest", "n_train", "n_test")}
    kernel = Kernel(name="a", network=family, depth=3, instruction_set="avx2", **shared)
    assert Kernel.from_attributes(kernel.attributes()) == kernel
    for one in (replace(header, storage="float32"), replace(kernel, storage="float32")):
        assert type(one).from_attributes(one.attributes()) == one
    assert "storage" not in header.attributes() | kernel.attributes()


def test_no_two_families_are_written_alike():
    assert len({(family.notation(3), family.trained, family.flips) for family in GRID}) == len(GRID)
    assert len({tuple(family.stated_parts().items()) for family in GRID}) == len(GRID)
    assert len({family.file_name("a") for family in GRID}) == len(GRID) / 4  # which leave the trained layers out


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"readout": "mean"}, "readout is 'mean'; allowed are 'flatten', 'lap', 'gap'"),
        ({"trained": "none"}, "trained is 'none'; allowed are 'all', 'hidden'"),
        ({"trained": ["all", "last"]}, "trained is 'last'"),
        ({"trained": []}, "trained is empty"),
        ({"filter_size": 4}, "filter_size is 4; allowed are odd integers"),
        ({"filter_size": 3.0}, r"filter_size is 3\.0"),
        ({"pooling_window": 3}, "pooling_window is 3 with readout 'gap'"),
        ({"readout": "lap"}, "pooling_window is None with readout 'lap'"),
        ({"readout": "lap", "pooling_window": 4}, "pooling_window is 4; allowed are odd integers"),
        ({"flips": 1}, "flips is 1; allowed are False and True"),
    ],
)
def test_wrong_part_is_named(parts, reason):
    with pytest.raises(InputError, match=reason):
        Family.checked(**{"readout": "gap"} | parts)


def test_notation():
    assert Family("lap", filter_size=5, pooling_window=3).notation(11) == "(conv5 relu)*10 lap3 dense"
    assert Family.parse("  (conv3   relu)*1 gap dense ", trained="hidden") == (Family("gap", HIDDEN), 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "network is ''; allowed is, for example"),
        ("(conv3 relu)*2 mean dense", "network is"),
        ("(conv3 relu)*2 lap dense", "network is"),
        ("(conv3 relu)*2 gap", "network is"),
        ("(conv3 relu)*0 gap dense", "layers is 0"),
        ("(conv2 relu)*3 gap dense", "filter_size is 2"),
        ("(conv3 relu)*3 lap4 dense", "pooling_window is 4"),
    ],
)
def test_text_that_is_no_network_of_the_family(text, reason):
    with pytest.raises(InputError, match=reason):
        Family.parse(text)


def test_statement_has_what_came_later_last_and_only_where_it_is_not_the_paper_s():
    assert list(Family("gap").stated_parts(depth=3).items()) == [
        ("readout", "gap"), ("trained", "all"), ("filter_size", 3), ("depth", 3),
    ]  # fmt: skip
    stated = Family("lap", BOTH, pooling_window=5, flips=True).stated_parts(depth=3, kinds="ntk")
    assert list(stated) == ["readout", "trained", "filter_size", "depth", "kinds", "pooling_window", "flips"]
    assert (stated["trained"], stated["pooling_window"], stated["flips"]) == ("all,hidden", 5, True)


def test_what_a_schema_cannot_say_is_named_by_key():
    assert list(contradictions("f", Family("lap", pooling_window=3).parts())) == []
    assert list(contradictions("f", {"readout": "gap", "filter_size": 3})) == []
    wrong = {"readout": "lap", "filter_size": 4}
    assert [text.split(":")[0] for text in contradictions("f", wrong)] == ["f.filter_size", "f.pooling_window"]
    (complaint,) = contradictions("f", wrong | {"filter_size": 3, "pooling_window": 4})
    assert complaint.startswith("f.pooling_window: 4 is even")
    (complaint,) = contradictions("f", {"readout": "gap", "filter_size": 3, "pooling_window": 5})
    assert complaint.startswith("f.pooling_window: 5 with readout gap")


def test_outputs_are_by_kind_then_trained_layers_then_depth():
    assert Family("gap", BOTH).outputs(("nngp", "ntk"), (3, 4)) == (
        Output("nngp", 3, None), Output("nngp", 4, None),
        Output("ntk", 3, "all"), Output("ntk", 4, "all"), Output("ntk", 3, "hidden"), Output("ntk", 4, "hidden"),
    )  # fmt: skip


@pytest.mark.parametrize("window", [1, 3, 5, 15, 17])
def test_element_layers_of_local_pooling(window):
    p = np.arange(8)
    near = (np.abs(p[:, None] - p) < window).sum() ** 2
    family = Family("lap", pooling_window=window)
    assert family.element_layers(2, (8, 8, 1), 3) == 2 * near * 2
    assert replace(family, flips=True).element_layers(2, (8, 8, 1), 3) == 2 * near * 2 * 2


def test_element_layers_of_the_others_are_its_ends():
    flatten, gap = (Family(readout).element_layers(3, (5, 7, 3), 4) for readout in ("flatten", "gap"))
    assert (flatten, gap) == (3 * 35 * 3, 3 * 35**2 * 3)
    assert Family("lap", pooling_window=1).element_layers(3, (5, 7), 4) == flatten
    assert Family("lap", pooling_window=13).element_layers(3, (5, 7), 4) == gap


@pytest.mark.parametrize("family", [Family("flatten"), Family("lap", pooling_window=3), Family("gap", filter_size=5)])
@pytest.mark.parametrize("depth", [2, 4])
def test_weights_are_those_of_a_network(family, depth):
    pytest.importorskip("torch")
    from exact_cntk.finite import CNN

    network = CNN((6, 5, 3), depth=depth, width=4, outputs=7, **family.arguments())
    shapes = [weight.numel() for weight in (*network.filters, network.readout_weight)]
    assert family.weights((6, 5, 3), depth, 4, outputs=7) == shapes
    assert family.operations((6, 5, 3), depth, 4, outputs=7) == 2 * (30 * sum(shapes[:-1]) + shapes[-1])


def test_networks_know_no_flips():
    with pytest.raises(InputError, match="flips is True; networks of finite width have no flips"):
        Family("gap", flips=True).arguments()


def test_names():
    assert Family("lap", pooling_window=5, flips=True).file_name("arch") == "arch-f3-lap5-flips"
    assert Family("gap", filter_size=1).file_name("arch") == "arch-f1-gap"
    assert kernel_label("mine", Family("flatten"), "ntk") == "CNTK-V"
    assert kernel_label("mine", Family("gap", HIDDEN), "nngp") == "CNN-GP-GAP"
    for family in (Family("flatten", HIDDEN), Family("flatten", filter_size=5), Family("flatten", flips=True)):
        assert kernel_label("mine", family, "ntk") == "mine NTK"
    assert network_label("mine", Family("gap")) == "CNN-GAP"
    for family in (Family("gap", HIDDEN), Family("gap", filter_size=5), Family("lap", pooling_window=3)):
        assert network_label("mine", family) == "mine"
    assert readout_label(Family("flatten")) == "vanilla"
    assert readout_label(Family("lap", pooling_window=3, flips=True)) == "LAP 3×3, flips"
    assert [kind_label(*kind) for kind in (("ntk", "all"), ("ntk", "hidden"), ("nngp", None))] == [
        "NTK", "NTK, hidden", "CNN-GP",
    ]  # fmt: skip
