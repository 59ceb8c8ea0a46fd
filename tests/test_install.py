"""Install lines come from one place and are true; the other project's package is noticed."""

import ast
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

import bigfoot.install
from bigfoot.install import (
    BASE,
    DISTRIBUTION,
    EXTRAS,
    FOREIGN,
    find_extra,
    find_foreign,
    install_hint,
    missing_extras,
    module_of,
    package_hint,
    reinstall_hint,
)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def setup_arguments():
    """What ``setup.py`` gives to setuptools."""
    import setuptools

    given = {}
    original, setuptools.setup = setuptools.setup, given.update
    try:
        runpy.run_path(str(ROOT / "setup.py"))
    finally:
        setuptools.setup = original
    return given


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed distributions in place of this environment's: ``site("bigfoot-speech", "1.0", ...)``."""
    library = [path for path in sys.path if path.startswith(sys.base_prefix) and "site-packages" not in path]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *library])

    def add(name, version, **files):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        for file, text in files.items():
            (folder / file.replace("__", ".")).write_text(text)

    return add


def names(requirements):
    return {re.match(r"[\w-]+", line).group() for line in requirements}


def test_setup_asks_for_the_same_packages(setup_arguments):
    assert setup_arguments["name"] == DISTRIBUTION
    assert names(setup_arguments["install_requires"]) == set(BASE)
    extras = setup_arguments["extras_require"]
    assert {extra: names(lines) for extra, lines in extras.items() if extra in EXTRAS} == {
        extra: set(packages) for extra, packages in EXTRAS.items()
    }
    assert set(extras) - set(EXTRAS) == {"runtime", "docs", "test"} and names(extras["runtime"]) == set(BASE)


def test_all_that_is_tested_is_within_the_constraints(setup_arguments):
    pinned = names(re.findall(r"^[a-z].*", (ROOT / "constraints.txt").read_text(), re.M))
    asked = set().union(*map(names, [setup_arguments["install_requires"], *setup_arguments["extras_require"].values()]))
    assert {name.replace("_", "-") for name in asked} <= pinned


@pytest.mark.slow
def test_no_other_module_writes_an_install_line():
    found = []
    for path in sorted((ROOT / "bigfoot").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = ast.Module | ast.ClassDef | ast.FunctionDef
        docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and node.body
                      and isinstance(node.body[0], ast.Expr)}  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                found += [path.name] if re.search(r"pip install|bigfoot(-speech)?\[", node.value) else []
    assert set(found) == {"install.py"}


# Not asked for by name: they come with a package that is, or only types are read, or nobody needs them.
WITHOUT_AN_EXTRA = {
    "fsspec": "huggingface_hub",
    "packaging": "onnxruntime",
    "tokenizers": "transformers",
    "_typeshed": "mypy",
    "torchaudio": "optional",
}


@pytest.mark.slow
def test_every_module_that_is_imported_is_asked_for():
    known = {module_of(package) for package in (*BASE, *sum(EXTRAS.values(), ()))}
    foreign = set()
    for path in (ROOT / "bigfoot").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                foreign |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                foreign.add((node.module or "").partition(".")[0])
    assert foreign - known - sys.stdlib_module_names - {"bigfoot"} == set(WITHOUT_AN_EXTRA)


def test_of_an_installed_one_the_line_names_the_distribution(site):
    site(DISTRIBUTION, "1.0")
    assert install_hint() == f"pip install '{DISTRIBUTION}'"
    assert install_hint("train", "text") == f"pip install '{DISTRIBUTION}[train,text]'"


@pytest.mark.parametrize("folder", ["plain", "with a space"])
def test_of_a_clone_that_is_not_installed_it_names_its_folder(folder, site, tmp_path, monkeypatch):
    clone = tmp_path / folder
    (clone / "bigfoot").mkdir(parents=True)
    monkeypatch.setattr(bigfoot.install, "__file__", str(clone / "bigfoot" / "install.py"))
    assert install_hint("train") == f"pip install '{DISTRIBUTION}[train]'"
    (clone / "setup.py").touch()
    assert shlex.split(install_hint("train")) == ["pip", "install", "-e", f"{clone}[train]"]


@pytest.mark.parametrize("version", [(3, 10), (3, 12), (3, 13)])
def test_what_has_no_wheels_for_this_python_is_named(version, site, monkeypatch):
    site(DISTRIBUTION, "1.0")
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    assert ("3.12" in install_hint("lm")) == (version == (3, 13))
    assert "3.12" not in install_hint("text")


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (None, f"pip install --force-reinstall --no-deps {DISTRIBUTION}"),
        ({"url": "file:///w/a%20b.whl", "archive_info": {}}, "pip install --force-reinstall --no-deps '/w/a b.whl'"),
        ({"url": "file:///c", "dir_info": {"editable": True}}, "pip install --force-reinstall --no-deps -e /c"),
        ({"url": "file:///c", "dir_info": {}}, "pip install --force-reinstall --no-deps /c"),
    ],
)
def test_files_come_back_from_where_they_came(origin, line, site):
    site(DISTRIBUTION, "1.0", **({} if origin is None else {"direct_url__json": json.dumps(origin)}))
    assert reinstall_hint() == line


def test_the_package_of_the_other_project(site):
    assert find_foreign() is None
    site(DISTRIBUTION, "1.0")
    site(FOREIGN, "0.1.0", entry_points__txt="[console_scripts]\nbigfoot = bigfoot.cli:main\n")
    assert find_foreign() is None
    site(FOREIGN, "0.21.0")
    assert find_foreign() == "0.21.0"


def test_versions_of_packages_are_those_of_the_metadata(site, tmp_path):
    assert package_hint("jiwer") == "pip install 'jiwer'"
    site(DISTRIBUTION, "1.0")
    file = next(tmp_path.glob("*.dist-info")) / "METADATA"
    file.write_text(f"{file.read_text()}Requires-Dist: jiwer<5,>=4; extra == 'train'\nRequires-Dist: jiwerish\n")
    assert package_hint("jiwer") == "pip install 'jiwer<5,>=4'"
    assert package_hint("jiwer", again=True) == "pip install --force-reinstall 'jiwer<5,>=4'"


def test_every_module_leads_to_its_extra():
    for extra, packages in EXTRAS.items():
        for package in packages:
            found, named = find_extra(module_of(package))
            assert named == package and (found == extra or package in EXTRAS[found])
    assert all(find_extra(package) is None for package in (*BASE, "nowhere_to_be_found"))


def test_here_all_is_installed():
    absent = {"lm"} if sys.version_info >= (3, 13) else set()
    # Their tests skip without them: accounts in the cloud, a large package, one of another licence.
    assert set(missing_extras()) - {"cloud", "datasets", "prosody"} == absent
