"""Whatever happens to a file that a later step reads: it is refused in one line that names it, or has no effect."""

import random

import pytest
from damaged_files import DAMAGES, OFTEN, Study, read_all, try_out


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    studies = [Study(tmp_path_factory.mktemp("study"), seed) for seed in (0, 1)]
    return studies[0].readers(studies[1])


@pytest.fixture(scope="module")
def expected(readers):
    return read_all(readers)


def test_intact_files_give_the_same_twice(readers, expected):
    assert read_all(readers) == expected


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_in_one_line_or_has_no_effect(readers, expected, damage):
    kinds = list(readers)
    if damage not in OFTEN:
        kinds = random.Random(damage).sample(kinds, 8)
    for kind in kinds:
        try_out(kind, damage, 0, readers, expected)
