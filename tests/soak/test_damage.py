"""A thousand damaged files: each is refused in one line that names it, or changes nothing."""

import random
import sys
from pathlib import Path

UNIT = Path(__file__).parents[1] / "unit"
sys.path += [str(UNIT), str(UNIT / "study")]
from damaged_files import DAMAGES, OFTEN, Study, read_all, try_out  # noqa: E402

TRIES = 1000


def test_damaged_files(tmp_path, seed):
    readers = Study(tmp_path / "one").readers(Study(tmp_path / "other", 1))
    expected = read_all(readers)
    draw = random.Random(seed)
    rarely = [damage for damage in DAMAGES if damage not in OFTEN]
    for _ in range(TRIES):
        damage = draw.choice([*OFTEN, draw.choice(rarely)])
        try_out(draw.choice(list(readers)), damage, draw.random(), readers, expected)
