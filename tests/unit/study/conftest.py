import pytest
from synthetic import write_study

from exact_cntk.study import sections
from exact_cntk.study.sections.accuracy import figures
from exact_cntk.study.sections.accuracy import results as tables


@pytest.fixture(scope="session")
def drawn_study(tmp_path_factory):
    """Folder of a small made-up study with its tables and figures; drawing them takes seconds, so only once."""
    folder = tmp_path_factory.mktemp("results") / "made-up"
    write_study(folder, depths=(3, 6, 21), subsets=((100, 1), (20, 3)), n_test=61)
    sections.write_section("correlation", folder, resamples=20)
    tables.write_tables(folder)
    figures.write_figures(folder)
    return folder
