"""Checks that load a package, which may kill the process where it is broken: see ``bigfoot.doctor.probes``."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from bigfoot.doctor.findings import Finding
from bigfoot.doctor.surroundings import count_processors
from bigfoot.install import (
    BASE,
    EXTRAS,
    find_requirement,
    install_hint,
    module_of,
    package_hint,
    wants_training,
)

CLOSER = ("torch", "transformers", "soundfile", "soxr", "onnxruntime")
"""Packages that have a check of their own; the others are only loaded."""

Check = tuple[str, Callable[[], Finding]]


def check_packages() -> Iterator[Check]:
    """Every package that is only loaded: those of the base, and of the extra ``train`` where that is installed."""
    for name in (*BASE, *(EXTRAS["train"] if wants_training() else ())):
        if name not in CLOSER:
            yield name, lambda name=name: _load(name)  # type: ignore[misc]


def check_transformers() -> Iterator[Check]:
    """Load the class that fails where torchaudio is broken; importing transformers alone does not load it."""

    def check() -> Finding:
        found = _load("transformers")
        from transformers import Wav2Vec2ForCTC  # noqa: F401 - the import is what is checked

        return found

    yield "transformers", check


def check_torch() -> Iterator[Check]:
    """Build, threads, GPU and half precision."""
    yield "torch", _torch_build
    yield "threads", _threads
    yield "GPU", _gpu
    yield "half precision", _half_precision


def check_sound() -> Iterator[Check]:
    """Reading, resampling and making audio."""
    yield "soundfile", _sound_formats
    yield "soxr", lambda: _load("soxr")
    yield "espeak-ng", _espeak


def check_optional(name: str) -> Iterator[Check]:
    """Check a package that bigfoot can do without."""

    def check() -> Finding:
        if importlib.util.find_spec(name) is None:
            return Finding(name, "ok", "not installed, and not needed")
        return _load(name)

    yield name, check


def check_onnxruntime() -> Iterator[Check]:
    """Check the engine of exported models."""
    yield "onnxruntime", lambda: _load("onnxruntime")


PROBES: dict[str, Callable[[], Iterator[Check]]] = {
    "torch": check_torch,
    "transformers": check_transformers,
    "packages": check_packages,
    "sound": check_sound,
    "torchaudio": lambda: check_optional("torchaudio"),
    "torchcodec": lambda: check_optional("torchcodec"),
    "onnxruntime": check_onnxruntime,
}
"""One child process each."""
TRAINING_PROBES = ("torch", "transformers", "torchaudio", "torchcodec")


def choose_probes() -> list[str]:
    """Return the names of the probes for what is installed: the base install has no use for torch."""
    return [name for name in PROBES if name not in TRAINING_PROBES or wants_training()]


def _load(name: str) -> Finding:
    """Import a package and compare its version with what bigfoot asks for."""
    module = importlib.import_module(module_of(name))
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "ok", str(getattr(module, "__version__", "of unknown version")))
    wanted = find_requirement(name)
    if wanted != name:
        from packaging.requirements import Requirement

        if not Requirement(wanted).specifier.contains(version, prereleases=True):
            return Finding(name, "broken", f"{version}, where bigfoot needs {wanted}", package_hint(name))
    return Finding(name, "ok", version)


def list_nvidia_gpus() -> list[str]:
    """Return the GPUs that the driver lists, whether torch finds them or not."""
    tool = shutil.which("nvidia-smi")
    try:
        if tool is not None:
            done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=10, check=False)
            return [line.partition(" (UUID")[0] for line in done.stdout.splitlines() if line.startswith("GPU ")]
        return sorted(path.name for path in Path("/proc/driver/nvidia/gpus").glob("*"))
    except (OSError, subprocess.SubprocessError):
        return []


def judge_build(version: str, cuda: str | None, usable: bool, gpus: list[str]) -> Finding:
    """Check whether a torch build fits the machine.

    Args:
        version: of torch.
        cuda: that it was built for, or None.
        usable: whether it can use a GPU.
        gpus: that the driver lists.

    Returns:
        ``broken`` where a GPU lies idle; ``note`` where gigabytes of CUDA are unused.

    Examples:
        >>> judge_build("2.13.0", None, False, []).state
        'ok'
    """
    build = f"{version}, {'CPU build' if cuda is None else f'build for CUDA {cuda}'}"
    index = "with --index-url as on PyTorch's installation page"
    if cuda is None and gpus:
        cure = f"{package_hint('torch', again=True)}, {index} for this driver's CUDA"
        return Finding("torch", "broken", f"{build}, beside {gpus[0]}, which it cannot use", cure)
    if cuda is not None and gpus and not usable:
        cure = f"update the driver, or install a torch for an older CUDA ({index}); see CUDA_VISIBLE_DEVICES, too"
        return Finding("torch", "broken", f"{build}, which cannot use {gpus[0]}", cure)
    if cuda is not None and not usable:
        cure = f"it works; to save some gigabytes, {package_hint('torch', again=True)}, {index} for CPU"
        return Finding("torch", "note", f"{build}, without a GPU", cure)
    return Finding("torch", "ok", build)


def _torch_build() -> Finding:
    found = _load("torch")
    if found.state != "ok":
        return found
    import torch

    if torch.version.hip:
        return Finding("torch", "ok", f"{torch.__version__}, build for ROCm {torch.version.hip}")
    return judge_build(str(torch.__version__), torch.version.cuda, torch.cuda.is_available(), list_nvidia_gpus())


def _threads() -> Finding:
    import torch

    threads, processors = torch.get_num_threads(), count_processors()
    detail = f"torch uses {threads} on {processors} processors"
    if threads > processors:
        cure = f"set OMP_NUM_THREADS={processors} or threads={processors}: they wait for each other"
        return Finding("threads", "note", detail, cure)
    return Finding("threads", "ok", detail)


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("GPU", "ok", "none that torch can use; training runs on the processor")
    about = torch.cuda.get_device_properties(0)
    more = f" and {torch.cuda.device_count() - 1} more" if torch.cuda.device_count() > 1 else ""
    half = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
    return Finding("GPU", "ok", f"{about.name}, {about.total_memory / 1e9:.0f} GB, {half}{more}")


def _half_precision() -> Finding:
    import torch

    from bigfoot.measure.half_precision import WRONG, ProneConv, measure_half_precision_error

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    errors = {d: measure_half_precision_error(ProneConv().to(d), ProneConv.SIZE, torch.bfloat16) for d in devices}
    wrong = [device for device, error in errors.items() if not error < WRONG]
    if not wrong:
        return Finding("half precision", "ok", f"bf16 is computed rightly on {' and '.join(devices)}")
    detail = f"bf16 convolutions are computed wrongly on {' and '.join(wrong)} (relative error {errors[wrong[0]]:.1f})"
    return Finding("half precision", "note", detail, f"leave precision at auto or no on {' and '.join(wrong)}")


def _sound_formats() -> Finding:
    found = _load("soundfile")
    import numpy as np
    import soundfile

    missing = []
    for kind in ("WAV", "FLAC", "OGG", "MP3"):
        file = io.BytesIO()
        try:
            soundfile.write(file, np.zeros(16_000, np.float32), 16_000, format=kind)
            file.seek(0)
            readable = len(soundfile.read(file)[0]) > 0
        except (soundfile.LibsndfileError, ValueError, TypeError):
            readable = False
        missing += [] if readable else [kind.lower()]
    detail = f"{found.value} with {soundfile.__libsndfile_version__}"
    if not missing:
        return Finding("soundfile", found.state, f"{detail}: wav, flac, ogg and mp3", found.cure)
    # bigfoot writes flac itself; the others are matters of the corpus.
    state = "broken" if {"wav", "flac"} & set(missing) else "note"
    return Finding("soundfile", state, f"{detail}, without {', '.join(missing)}", package_hint("soundfile", again=True))


def _espeak() -> Finding:
    if importlib.util.find_spec("espeakng_loader") is None:
        detail = "not installed; only synthetic speech (the demo's) needs it"
        return Finding("espeak-ng", "note", detail, install_hint("synthetic"))
    from bigfoot.espeak import Voice, speak

    samples, rate = speak("seven", Voice("en-us"))
    return Finding("espeak-ng", "ok", f"speaks: {len(samples) / rate:.1f} s for one word")
