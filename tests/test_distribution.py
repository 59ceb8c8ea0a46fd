"""The wheel and the source distribution, built and installed outside the project: base alone, and with ``train``."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bigfoot.install import BASE, DISTRIBUTION, EXTRAS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
SOURCES = (
    "bigfoot",
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "constraints.txt",
)
# Of a run of seconds.
SHORT = [
    "threads=1", "trackers=[]", "data.num_train=4", "data.num_dev=2", "data.num_test=3", "data.max_digits=2",
    "data.num_workers=0", "steps=[student,distill]", "student.num_hidden_layers=2", "student.conv_init=slice",
    "distill.max_steps=1", "distill.warmup_steps=1",
]  # fmt: skip


def run(*command, folder, code=0):
    """Run a command in a folder, without the project on its path; its exit code must be as given."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "PIP_CONSTRAINT")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel of the tree, source distribution, wheel of the source distribution; built where nothing else lies."""
    base = tmp_path_factory.mktemp("distribution")
    tree = base / "tree"
    tree.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree / name)
    run(sys.executable, "-m", "build", "--outdir", base / "dist", folder=tree)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", base / "of_tree", folder=tree)
    (wheel,), (source,) = (base / "dist").glob("*.whl"), (base / "dist").glob("*.tar.gz")
    (of_tree,) = (base / "of_tree").glob("*.whl")
    return wheel, source, of_tree


def make_environment(folder):
    run(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder.parent)
    return folder / "bin"


def pip(programs, command, *arguments):
    """Run the pip of this process for another environment, which has none; nothing is compiled ahead of its use."""
    quick = ("-q", "--no-compile") if command == "install" else ()
    python = ("--python", programs / "python")
    return run(sys.executable, "-m", "pip", *python, command, *quick, *arguments, folder=programs)


@pytest.fixture(scope="module")
def base_install(built, tmp_path_factory):
    """An environment with the wheel and what it asks for, from the package index."""
    programs = make_environment(tmp_path_factory.mktemp("base") / "venv")
    pip(programs, "install", "--only-binary", ":all:", "-c", ROOT / "constraints.txt", built[0])
    return programs


@pytest.fixture(scope="module")
def train_install(built, tmp_path_factory):
    """An environment with the wheel alone, above the packages of this one; its editable bigfoot is not among them."""
    programs = make_environment(tmp_path_factory.mktemp("train") / "venv")
    pip(programs, "install", "--no-deps", "--no-index", built[0])
    (site,) = programs.parent.glob("lib/python*/site-packages")
    # A path in a .pth file is added without the .pth files that lie there, such as that of an editable install.
    (site / "above.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return programs


@pytest.fixture(scope="module")
def student(built, tmp_path_factory):
    """The tiny teacher as an ONNX file, and a recording for it."""
    from bigfoot.audio.files import write_audio
    from bigfoot.cli import main
    from bigfoot.data.synthetic import synthesize_split

    folder = tmp_path_factory.mktemp("student")
    (utterance,) = synthesize_split(5, "test", 1, 2, 2)
    write_audio(folder / "a.wav", utterance.samples)
    with pytest.raises(SystemExit) as end:
        main(["export", "tiny_teacher", str(folder / "student.onnx")])
    assert not end.value.code
    return folder


def test_what_is_uploaded_passes_the_check_of_the_index(built):
    wheel, source, _ = built
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, source, folder=wheel.parent)


def test_the_source_distribution_builds_the_same_wheel(built):
    wheel, _, of_tree = built
    contents = []
    for path in (wheel, of_tree):
        with zipfile.ZipFile(path) as file:
            contents.append({name: file.read(name) for name in file.namelist()})
    assert contents[0] == contents[1] and wheel.name == of_tree.name
    packed = {name for name in contents[0] if name.startswith("bigfoot/")}
    there = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "bigfoot").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }  # fmt: skip
    assert packed == there


def test_the_base_install_transcribes(base_install, student, bigfoot, tmp_path):
    text = run(base_install / "bigfoot", "transcribe", student / "student.onnx", student / "a.wav", folder=tmp_path)
    assert text.strip() and bigfoot("transcribe", student / "student.onnx", student / "a.wav")[:2] == (0, text)
    listed = run(base_install / "bigfoot", "configs", folder=tmp_path)
    assert "methods/armhubert.yaml" in listed
    assert "transcribe" in run(base_install / "bigfoot", "--help", folder=tmp_path)


def test_the_base_install_holds_the_base_alone(base_install):
    installed = json.loads(pip(base_install, "list", "--format", "json"))
    names = {re.sub(r"[-_.]+", "-", row["name"]).lower() for row in installed}
    assert {*BASE, DISTRIBUTION} <= names
    assert not names & {package.replace("_", "-") for packages in EXTRAS.values() for package in packages}
    pip(base_install, "check")


def test_the_doctor_of_the_base_install(base_install, tmp_path):
    for doctor in (("bigfoot", "doctor", "--json"), ("python", "-m", "bigfoot", "doctor", "--json")):
        findings = json.loads(run(base_install / doctor[0], *doctor[1:], folder=tmp_path))
        states = {finding["name"]: finding["state"] for finding in findings["findings"]}
        assert findings["ok"] and "torch" not in states and states["onnxruntime"] == "ok"
        cure = next(finding["cure"] for finding in findings["findings"] if finding["name"] == "install")
        assert re.fullmatch(rf"pip install '{DISTRIBUTION}\[train,.*\]'.*", cure)


def test_a_command_that_trains_names_its_extra(base_install, tmp_path):
    command = (base_install / "python", "-m", "bigfoot", "compress")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith(f"pip install '{DISTRIBUTION}[train]'")


def test_the_package_of_the_other_project_is_noticed(base_install, built, tmp_path):
    """A wheel like that of the index: its ``bigfoot/__init__.py`` overwrites ours."""
    foreign = tmp_path / "bigfoot-0.21.0-py3-none-any.whl"
    with zipfile.ZipFile(foreign, "w") as file:
        file.writestr("bigfoot/__init__.py", "import warnings\nwarnings.warn('renamed', DeprecationWarning)\n")
        file.writestr("bigfoot-0.21.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: bigfoot\nVersion: 0.21.0\n")
        file.writestr(
            "bigfoot-0.21.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(
            "bigfoot-0.21.0.dist-info/RECORD",
            "".join(
                f"{name},,\n"
                for name in (
                    "bigfoot/__init__.py",
                    *(f"bigfoot-0.21.0.dist-info/{part}" for part in ("METADATA", "WHEEL", "RECORD")),
                )
            ),
        )
    pip(base_install, "install", "--no-index", foreign)
    found = json.loads(run(base_install / "bigfoot", "doctor", "--json", folder=tmp_path, code=1))["findings"][0]
    assert (found["name"], found["state"]) == ("bigfoot", "broken") and "0.21.0" in found["value"]
    # The cure, as it is printed.
    uninstall, _, install = found["cure"].partition(", then pip install ")
    assert uninstall == "pip uninstall bigfoot"
    pip(base_install, "uninstall", "-q", "-y", "bigfoot")
    pip(base_install, "install", "--no-index", *install.split())
    found = json.loads(run(base_install / "bigfoot", "doctor", "--json", folder=tmp_path))["findings"][0]
    assert found["state"] == "ok"


def test_the_install_line_asks_no_index_for_bigfoot(train_install, tmp_path):
    """All that the extras ask for is there, hence pip needs no index; the metadata and the versions here agree."""
    line = ("install", "--no-index", f"{DISTRIBUTION}[train,synthetic,onnx,openvino,text,decoder,runtime]")
    assert "already satisfied" in run(train_install / "python", "-m", "pip", *line, folder=tmp_path)


def test_the_train_install_compresses(train_install, tmp_path):
    where = run(train_install / "python", "-c", "import bigfoot; print(bigfoot.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(train_install.parent)
    # Measuring and the report take a minute more and ask for no other file of the package.
    compress = ("compress", "--config", "demo_config.yaml", "--until", "distill")
    run(train_install / "bigfoot", *compress, *SHORT, folder=tmp_path)
    assert (tmp_path / "runs/demo/distill/model/config.json").is_file()
    doctor = json.loads(run(train_install / "bigfoot", "doctor", "--json", folder=tmp_path))
    assert doctor["ok"] and "torch" in {finding["name"] for finding in doctor["findings"]}
