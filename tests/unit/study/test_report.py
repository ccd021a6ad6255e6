import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from synthetic import DATASET, write_study

from exact_cntk.errors import UserError
from exact_cntk.study import report, results
from exact_cntk.study.documents import write_result
from exact_cntk.study.provenance import section_provenance
from exact_cntk.study.sections import plan, write_section
from exact_cntk.study.sections.accuracy import figures
from exact_cntk.study.sections.accuracy import results as tables
from exact_cntk.study.sections.accuracy.page import headline

UNVERIFIED = "CIFAR-10 (unverified source, sha256 1234abcd1234)"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class _Page(HTMLParser):
    """Ids, links and tags of a page; fails on a tag that is closed out of order."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.tags, self._open = [], [], set(), []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


@pytest.fixture
def folder(drawn_study):
    return drawn_study


@pytest.fixture(scope="module")
def page(drawn_study, tmp_path_factory):
    return report.write_report(drawn_study, out=tmp_path_factory.mktemp("page") / "report.html").read_text()


def test_the_page_is_well_formed_and_stands_alone(page):
    parsed = _Page(page)
    assert not parsed.tags & {"script", "link", "iframe", "img"}
    assert all(link.startswith("#") for link in parsed.links)
    assert "@import" not in page and "url(http" not in page
    assert {link[1:] for link in parsed.links} <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))


def test_it_holds_tables_figures_and_provenance(page):
    drawn = [name for key in ("accuracy", "correlation") for name in plan(key).SECTION.figures]
    assert page.count("<figure") == page.count("<svg") == len(drawn)
    assert DATASET in page and "5" * 64 in page
    assert "cntk-gap-depth-06" in page  # kernel by kernel
    assert "40.94" in page and "11.46" in page  # the paper's table, the paper's regret
    for caption in figures.CAPTIONS.values():
        assert caption.replace("'", "&#39;") in page


def test_numbers_are_those_of_the_metrics(page, folder):
    study = results.load(folder)
    for value in study.accuracy[study.accuracy.train_images == 100].accuracy:
        assert f"{100 * value:.2f}" in page


def test_phones_are_provided_for(page):
    assert 'name="viewport"' in page
    assert len(re.findall(r'<div class="scroll"[^>]*><table>', page)) == page.count("<table>")
    assert not re.search(r"<svg[^>]* width=", page)


def test_verified_data_have_no_banner(page):
    assert 'class="banner"' not in page


def test_unverified_data_have_one_with_the_digest(folder, tmp_path):
    kwargs = {"dataset": UNVERIFIED, "verified": False, "image_shape": (32, 32, 3)}
    write_study(tmp_path, depths=(3, 6), subsets=((2000, 1),), n_test=61, **kwargs)
    write_section("accuracy", tmp_path)
    page = report.write_report(tmp_path).read_text()
    banner = re.search(r'<p class="banner".*?</p>', page, re.DOTALL)[0]
    assert UNVERIFIED in banner and "1234abcd" * 8 in banner
    assert "CNTK-V-2K, difference" in page


def test_notebooks_are_linked_when_they_are_there(folder, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(folder, copy)
    (copy / "notebooks").mkdir()
    (copy / "notebooks" / "ridge.html").write_text("")
    (copy / "notebooks" / "table1.ipynb").write_text("")
    links = _Page(report.write_report(copy).read_text()).links
    assert [link for link in links if not link.startswith("#")] == ["notebooks/table1.ipynb", "notebooks/ridge.html"]
    elsewhere = report.write_report(copy, out=tmp_path / "pages" / "index.html")
    assert "../study/notebooks/ridge.html" in _Page(elsewhere.read_text()).links


def test_what_has_no_answer_is_explained_where_it_is_missing(folder, page, tmp_path):
    assert "No answer" not in page
    shutil.copytree(folder, tmp_path / "study")
    write_study(
        tmp_path / "study",
        depths=(3, 6, 21),
        subsets=((100, 1), (20, 3)),
        n_test=61,
        singular=lambda family, depth, result: result["repeat"] == 1,
    )
    write_section("accuracy", tmp_path / "study")
    text = report.write_report(tmp_path / "study").read_text(encoding="utf-8")
    text = re.sub(r' aria-label="[^"]*"', "", text)  # captions again
    # at the top and with what the ridge changes; with the accuracies, of their number of training images
    assert text.count("No answer in 12 of 48 fits: without ridge, the kernel matrix is singular") == 2
    assert text.count("No answer in 12 of 36 fits: without ridge, the kernel matrix is singular") == 1
    assert "(2 of 3)</td>" in text and ">nan<" not in text


def test_without_provenance_it_says_so(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "study")
    shutil.rmtree(tmp_path / "study" / "provenance")
    assert "No provenance was recorded" in report.write_report(tmp_path / "study").read_text()


class TestSections:
    @pytest.fixture
    def copy(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "study")
        return tmp_path / "study"

    def test_each_has_its_part_its_link_and_its_line_at_the_top(self, page, folder):
        written = json.loads((folder / "sections" / "correlation.json").read_text(encoding="utf-8"))
        assert f'<section id="correlation">\n<h2>{written["title"]}</h2>' in page
        assert page.count('<a href="#correlation">') == 2
        for figure in written["figures"]:
            assert f'id="figure-{figure["name"]}"' in page

    def test_one_that_is_not_named_is_left_out(self, copy):
        chosen = [copy / "sections" / "accuracy.json"]
        page = report.write_report(copy, sections=chosen).read_text(encoding="utf-8")
        assert 'id="accuracy"' in page
        assert 'id="correlation"' not in page and "#correlation" not in page

    def test_a_text_of_paragraphs_and_a_text_of_one(self, copy):
        path = copy / "sections" / "correlation.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        for text, shown in [
            ("One <em>line</em>.", "<p>One <em>line</em>.</p>"),
            ("<p>A</p><p>B</p>", "<p>A</p><p>B</p>"),
        ]:
            write_result(path, document | {"text": text, "headline": []})
            page = report.write_report(copy).read_text(encoding="utf-8")
            assert f"</h2>\n{shown}" in page
            assert page.count('<a href="#correlation">') == 1

    def test_where_its_numbers_come_from(self, copy, page):
        assert "Section by section" not in page
        record = section_provenance({"width": 64}, {"digest": "5" * 64})
        (copy / "section_provenance").mkdir()
        write_result(copy / "section_provenance" / "correlation.json", record)
        write_result(copy / "benchmarks" / "section_provenance" / "correlation.json", {"finished": "at noon"})
        page = report.write_report(copy).read_text(encoding="utf-8")
        assert "Section by section" in page and "at noon" in page
        assert "packages.torch" in page

    def test_a_missing_figure_names_the_command_that_makes_it(self, copy):
        (copy / "figures" / "paper_table1.svg").unlink()
        with pytest.raises(UserError, match="is missing: run `exact-cntk section show correlation --study-dir"):
            report.write_report(copy)


class TestProvenance:
    @pytest.fixture
    def documents(self):
        shared = {"git": {"revision": "abc", "dirty": False}, "ridges": [0, 1e-8]}
        seconds = {"a-depth-03": 1.5, "a-depth-04": 2.25}
        return {name: shared | {"seconds": {"solve": value}} for name, value in seconds.items()}

    def test_shared(self, documents):
        table, _ = report.provenance_tables(documents)
        assert table.to_numpy().tolist() == [
            ["git.revision", "abc"],
            ["git.dirty", "no"],
            ["ridges", "0, 1e-08"],
        ]

    def test_kernel_by_kernel(self, documents):
        _, table = report.provenance_tables(documents)
        assert table.to_dict("list") == {"kernel": ["a-depth-03", "a-depth-04"], "seconds.solve": ["1.5", "2.25"]}


class TestErrors:
    def test_no_section(self, tmp_path):
        with pytest.raises(UserError, match="holds no section: run the workflow, or `exact-cntk section show`"):
            report.write_report(tmp_path)

    def test_a_missing_part_names_the_command_that_makes_it(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "study")
        (tmp_path / "study" / "figures" / "spectra.svg").unlink()
        with pytest.raises(
            UserError, match=f"is missing: run `exact-cntk section show accuracy --study-dir {tmp_path}/study`"
        ):
            report.write_report(tmp_path / "study")

    def test_a_figure_that_is_none(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "study")
        (tmp_path / "study" / "figures" / "spectra.svg").write_text("")
        with pytest.raises(UserError, match=r"spectra\.svg does not have the checksum .* show accuracy --study-dir"):
            report.write_report(tmp_path / "study")

    def test_broken_provenance(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "study")
        path = next((tmp_path / "study" / "provenance").iterdir())
        path.write_text("{")
        with pytest.raises(UserError, match=f"{path.name} cannot be read as provenance"):
            report.write_report(tmp_path / "study")


class TestHeadline:
    def test_sentences(self, folder):
        study = results.load(folder)
        sentences = headline(study)
        full = study.accuracy[study.accuracy.train_images == 100]
        best = full.accuracy.max()
        assert f"classifies {round(61 * best)} of the 61 test images correctly ({100 * best:.2f} ± " in sentences[0]
        gain = 100 * (full.accuracy_loo_ridge - full.accuracy)
        assert f"{gain.max():+.2f}".replace("+0.00", "0.00") in sentences[1]
        assert "the paper states 8 to 10 points" in sentences[2]

    def test_one_size_and_one_family_say_less(self, tmp_path):
        write_study(tmp_path, families={"cntk-v": ("flatten", "all")}, subsets=((50, 1),), n_test=23)
        sentences = headline(results.load(tmp_path))
        assert len(sentences) == 2

    def test_what_is_compared_has_the_same_training_sets(self, tmp_path):
        """Vanilla kernels have no answer from the second of three subsets, and at depth 3 from none."""

        def singular(family, depth, result):
            return family == "cntk-v" and (result["repeat"] == 1 or depth == 3)

        write_study(tmp_path, depths=(3, 6), subsets=((50, 3),), n_test=100, singular=singular)
        study = results.load(tmp_path)
        best, ridge, pooling, unsolved = headline(study)
        complete = study.accuracy[study.accuracy.family == "cntk-gap"]
        assert "of the 4 of 8 kernels that have an answer from every training set: C" in best
        assert f"{100 * complete.groupby(['kernel', 'depth']).accuracy.mean().max():.2f}" in best
        assert ridge.endswith("points (50 training images; kernels with an answer without ridge).")
        both = study.accuracy[(study.accuracy.kind == "ntk") & (study.accuracy.depth == 6)]
        wide = both.pivot(index="repeat", columns="kernel", values="accuracy").dropna()
        gain = 100 * (wide["CNTK-GAP"] - wide["CNTK-V"]).mean()
        assert f"by {gain:+.2f} points at depth 6 (over 2 of 6 training sets".replace("-", "\u2212") in pooling
        assert unsolved.startswith("No answer in 8 of 24 fits: without ridge, the kernel matrix is singular")
        assert not any("nan" in sentence for sentence in (best, ridge, pooling, unsolved))

    def test_no_kernel_has_all_answers(self, tmp_path):
        write_study(
            tmp_path, subsets=((50, 3),), n_test=100, singular=lambda family, depth, result: result["repeat"] == 1
        )
        best, *_ = headline(results.load(tmp_path))
        assert "where no kernel has an answer from every training set" in best
        assert re.search(r"\d+\.\d\d ± \d+\.\d\d\N{NO-BREAK SPACE}% \(2 of 3\) of the 100 test images", best)

    def test_the_farthest_from_the_paper_is_named(self, tmp_path):
        write_study(tmp_path, dataset="CIFAR-10", image_shape=(32, 32, 3), subsets=((2000, 1),), n_test=40)
        study = results.load(tmp_path)
        table = tables.table1(study)
        farthest = table.loc[table.difference_points.abs().idxmax()]
        (sentence,) = [s for s in headline(study) if "Table 1" in s]
        assert f"{abs(farthest.difference_points):.2f} points" in sentence
        assert f"depth {farthest.depth}" in sentence
