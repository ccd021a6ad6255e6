"""The project's own files agree with one another: dependencies, lock, conda environment, versions, hooks."""

import re
import tomllib
from importlib.metadata import requires
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import exact_cntk

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]

# Where conda-forge's name is another, or where a package of fewer dependencies does.
CONDA_NAMES = {
    "matplotlib": "matplotlib-base",
    "nbconvert": "nbconvert-core",
    "seaborn": "seaborn-base",
    "torch": "pytorch",
}
# What only conda installs; pip's way needs a compiler and Python from outside and takes cmake and ninja from the lock.
CONDA_ONLY = {"pip", "cxx-compiler"}
# The backend "cuda": not on every platform, and one file serves all; its comment says what to install.
NOT_IN_CONDA_FILE = {canonicalize_name(Requirement(text).name) for text in EXTRAS["cuda"]}


def requirements_in() -> list[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.in").read_text().splitlines())
    return [line for line in lines if line]


def locked() -> dict[str, set[str]]:
    """Versions by canonical name; some packages have one version below Python 3.12 and another from there on."""
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)", (ROOT / "requirements.lock").read_text()):
        pins.setdefault(canonicalize_name(name), set()).add(version)
    return pins


def assert_locked(requirement: Requirement, pins: dict[str, set[str]]) -> None:
    versions = pins.get(canonicalize_name(requirement.name))
    assert versions, f"{requirement.name} is not in requirements.lock: run make lock"
    outside = [version for version in versions if version not in requirement.specifier]
    assert not outside, (
        f"requirements.lock has {requirement.name} {outside}, not {requirement.specifier}: run make lock"
    )


@pytest.mark.parametrize(
    "group", ["dependencies", "study", "workflow", "cuda", "dev", "build-system", "requirements.in"]
)
def test_lock_holds_every_requirement(group):
    groups = {
        "dependencies": PROJECT["dependencies"],
        "build-system": PYPROJECT["build-system"]["requires"],
        "requirements.in": requirements_in(),
        **EXTRAS,
    }
    pins = locked()
    for text in groups[group]:
        assert_locked(Requirement(text), pins)


def test_lock_holds_the_dependencies_of_torch():
    # torch itself is installed without its dependencies, as its build depends on the machine.
    pins = locked()
    for text in requires("torch") or []:
        requirement = Requirement(text)
        if requirement.marker is None:
            assert_locked(requirement, pins)
    assert "torch" not in pins


def test_every_pin_has_a_hash():
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements.in", "Makefile", "environment.yml", "README.md"])
def test_no_file_names_a_registry_host(name):
    text = (ROOT / name).read_text()
    assert re.findall(r"pypi\.org|pythonhosted|download\.pytorch|registry\.npmjs|deb\.debian|--index-url", text) == []


def test_conda_environment_is_in_step_with_pyproject():
    ours = {"python": SpecifierSet(PROJECT["requires-python"])}
    tools = [text for text in requirements_in() if Requirement(text).name in ("cmake", "ninja")]
    groups = [PROJECT["dependencies"], PYPROJECT["build-system"]["requires"], tools, *EXTRAS.values()]
    for requirement in map(Requirement, [text for group in groups for text in group]):
        name = canonicalize_name(requirement.name)
        if name not in NOT_IN_CONDA_FILE:
            ours[CONDA_NAMES.get(name, name)] = requirement.specifier
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    theirs = {canonicalize_name(r.name): r.specifier for r in map(Requirement, entries) if r.name not in CONDA_ONLY}
    assert theirs == ours


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"(?m)^## (\S+)", (ROOT / "CHANGELOG.md").read_text())
    assert {exact_cntk.__version__, citation["version"], newest[1]} == {PROJECT["version"]}


def test_hooks_use_locked_tools_and_fetch_nothing():
    pins = locked()
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {repo["repo"] for repo in repos} == {"local"}
    for hook in (hook for repo in repos for hook in repo["hooks"]):
        assert hook["language"] == "system"
        assert canonicalize_name(hook["entry"].split()[0]) in pins


def test_types_are_stated_to_users_type_checkers():
    assert (files(exact_cntk) / "py.typed").is_file()
