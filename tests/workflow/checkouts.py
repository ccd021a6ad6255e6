"""Copies of the checkout in which the workflow runs for real; one finished tiny study is made once and copied."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import forked
import nbformat
import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests/unit"))  # files of kernels and images, made up for tests
sys.path.append(str(ROOT / "tests/unit/data"))
from kernel_files import HUNG  # noqa: E402

ENVIRONMENT = Path(sys.executable).parent
PRESETS = sorted(path.stem for path in (ROOT / "config").glob("*.yaml"))


class Checkout:
    """A copy of the checkout, and the tools run inside it."""

    def __init__(self, path: Path):
        self.path = path
        self.env = os.environ | {
            "PATH": os.pathsep.join([str(ENVIRONMENT), os.environ["PATH"]]),
            **{
                f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
            },
        }

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def start(self, *command: str) -> subprocess.Popen:
        """Start a command in a session of its own, with its output in ``output.log``."""
        with (self / "output.log").open("w") as log:
            return subprocess.Popen(
                command, cwd=self.path, env=self.env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def run(self, *command: str, code: int = 0) -> str:
        """Run a command, check its exit code and return what it printed."""
        # A process that is forked does not read PYTHONPATH.
        if command[0] == "snakemake" and self.env.get("PYTHONPATH") == os.environ.get("PYTHONPATH"):
            ended, output = forked.snakemake(command[1:], self.path, self.env, HUNG)
        else:
            process = subprocess.run(
                command,
                cwd=self.path,
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=HUNG,
            )
            ended, output = process.returncode, process.stdout
        assert ended == code, f"{' '.join(command)} ended with {ended}:\n{output}"
        return output

    def snakemake(self, *arguments: str, code: int = 0) -> str:
        return self.run("snakemake", "--cores", "2", *arguments, code=code)

    def planned(self, *arguments: str) -> dict[str, int]:
        """Count by rule the jobs that a dry run announces; `said` is all that it prints."""
        output = self.said = self.run("snakemake", "--dry-run", *arguments)
        statistics = output.partition("Job stats:")[2].partition("\n\n")[0]
        jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", statistics, flags=re.MULTILINE)}
        jobs.pop("total", None)
        return jobs

    def edit(self, name: str, old: str, new: str) -> None:
        path = self / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def files(self, *folders: str) -> dict[str, bytes]:
        """Contents of all files under folders of the study."""
        paths = [path for folder in folders for path in sorted((self / "results/ci" / folder).rglob("*"))]
        return {str(path.relative_to(self.path)): path.read_bytes() for path in paths if path.is_file()}

    def ages(self, *folders: str) -> dict[str, int]:
        """Modification times of all files under folders of the study."""
        return {name: (self / name).stat().st_mtime_ns for name in self.files(*folders)}


def wait_until(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Poll until a condition holds; fail if the process ends first."""
    deadline = time.monotonic() + HUNG
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        with suppress(subprocess.TimeoutExpired):
            assert process.wait(timeout=0.02) is None, "the process ended before what was waited for"


def family(process: subprocess.Popen) -> list[psutil.Process]:
    """A process and all that it has started, as far as they are alive."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    return []


def kill(processes: list[psutil.Process]) -> None:
    """Kill processes without a chance to clear up, some of which may just have ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


NUMBERS = ("kernels", "metrics", "cnns", "random_features", "architectures", "small_data", "tables", "sections")
# What differs from run to run: what is measured, and the pages that show it. Every other file has the same bytes.
MEASURED = ("benchmarks", "checkpoints", "logs", "notebooks", "report.html")


def numbers(checkout: Checkout) -> dict[str, bytes]:
    """All numbers of the study, by file; those of the run, such as times, are elsewhere."""
    found = checkout.files(*NUMBERS) | {"summary": (checkout / "results/ci/summary.json").read_bytes()}
    return {name: content for name, content in found.items() if "parameters.yaml" not in name}


def result_files(checkout: Checkout) -> dict[str, bytes]:
    """All files of the study's results, none of which may depend on the clock."""
    folders = [path.name for path in (checkout / "results/ci").iterdir() if path.name not in MEASURED]
    files = [path for path in (checkout / "results/ci").iterdir() if path.is_file() and path.name in folders]
    return checkout.files(*folders) | {path.name: path.read_bytes() for path in files}


def from_scratch(other: Checkout, path: Path) -> Checkout:
    """A checkout with the same parameters as another one, in which all that has numbers is computed anew."""
    checkout = copy_of_sources(path)
    shutil.copyfile(other / "params.yaml", checkout / "params.yaml")
    checkout.snakemake("sections", "summary", "baselines")
    return checkout


def await_queue(checkout: Checkout) -> None:
    """Wait until DVC's queue has run all its experiments."""
    deadline = time.monotonic() + HUNG
    while re.search("Queued|Running", checkout.run("dvc", "queue", "status")):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


def copy_of_sources(target: Path) -> Checkout:
    """Copy the files that git tracks or would track, and commit them there."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    checkout = Checkout(target)
    shutil.copy2(target / "config/ci.yaml", target / "params.yaml")
    checkout.run("git", "init", "--quiet")
    checkout.run("git", "add", "--all")
    checkout.run("git", "commit", "--quiet", "--message", "Copy")
    return checkout


def cut_down(checkout: Checkout, **changes) -> None:
    """Make the study of a checkout smaller than ci: one kernel, and two sections that are quick."""
    params = yaml.safe_load((ROOT / "config/ci.yaml").read_text(encoding="utf-8"))
    family = params["kernels"]["families"][0]
    params["kernels"]["families"] = [family | {"depth_passes": [[3]]}]
    params["random_features"] |= {"families": [family["name"]], "draws": 1, "sweep": None}
    params["small_data"] |= {"cnns": None, "baselines": ["rbf"], "kernels": [{"family": family["name"], "depth": 3}]}
    params |= {"cnns": None, "architectures": None} | changes
    (checkout / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def empty_notebooks(checkout: Checkout) -> None:
    """Leave nothing of the notebooks but their parameters: each takes seconds to run, and here for nothing."""
    for path in (checkout / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        nbformat.write(notebook, path)


@pytest.fixture
def fresh(tmp_path) -> Checkout:
    """A checkout in which nothing has run; its params.yaml is the preset ci."""
    return copy_of_sources(tmp_path / "checkout")


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory) -> Checkout:
    """A checkout with the finished study ci; not to be changed. All processes of one test run share it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    checkout = Checkout(shared / "finished")
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (checkout / "run.txt").exists():
            shutil.rmtree(checkout.path, ignore_errors=True)
            copy_of_sources(checkout.path)
            (checkout / "run.txt").write_text(checkout.snakemake(), encoding="utf-8")
    return checkout


@pytest.fixture
def finished(finished_once, tmp_path) -> Checkout:
    """A copy of the finished study, to be spoilt."""
    shutil.copytree(finished_once.path, tmp_path / "checkout", symlinks=True)
    return Checkout(tmp_path / "checkout")
