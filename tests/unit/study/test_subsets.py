"""Subsets: read, laid out in the pool, and held against it."""

import pytest

from exact_cntk.errors import InputError
from exact_cntk.study.subsets import Subset, check_subsets, parse_subset


def test_text_and_back():
    assert parse_subset("200x5") == Subset(200, 5)
    assert str(Subset(200, 5)) == "200x5"


@pytest.mark.parametrize("text", ["", "200", "200x", "x5", "0x5", "200x0", "200 x 5", "-1x5", "2e2x5"])
def test_bad_subset(text):
    with pytest.raises(InputError, match="but must be IMAGESxREPEATS"):
        parse_subset(text)


def test_repeats_follow_each_other_in_the_pool():
    assert Subset(4, 3).chunks == [slice(0, 4), slice(4, 8), slice(8, 12)]


def test_all_of_the_pool_may_be_taken():
    check_subsets([Subset(24, 1), Subset(8, 3)], 24)


@pytest.mark.parametrize(
    ("subsets", "reason"),
    [
        ([], "subsets are empty"),
        ([Subset(8, 4)], "8x4 needs 32 images, but the training pool has 24: at most 3 repeats of 8"),
        ([Subset(8, 1), Subset(4, 1), Subset(8, 2)], "8x2 is the second of 8 images"),
    ],
)
def test_subsets_that_do_not_fit(subsets, reason):
    with pytest.raises(InputError, match=reason):
        check_subsets(subsets, 24)
