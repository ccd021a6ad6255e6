import pytest
from synthetic import write_study

from exact_cntk.study import sections


@pytest.fixture(scope="session")
def drawn_study(tmp_path_factory):
    """Folder of a small made-up study with its tables and figures; drawing them takes seconds, so only once."""
    folder = tmp_path_factory.mktemp("results") / "made-up"
    write_study(folder, depths=(3, 6, 21), subsets=((100, 1), (20, 3)), n_test=61)
    for key in ("accuracy", "correlation"):
        sections.write_section(key, folder, resamples=20)
    return folder
