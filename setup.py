"""Metadata and extras of bigfoot; tool settings are in pyproject.toml, exact versions in constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
README = ROOT / "README.md"
VERSION = re.findall(r'^__version__ = "(.+)"$', (ROOT / "bigfoot/version.py").read_text(encoding="utf-8"), re.M)[0]
SYNTHETIC = ["espeakng-loader>=0.2.4"]  # espeak-ng is GPL-3.0, hence never a plain requirement.
BASE = [  # runs exported models
    "numpy>=2,<3",
    "onnxruntime>=1.23,<2",
    "rich>=13,<16",
    "soundfile>=0.13",
    "soxr>=0.5",
    "typer>=0.15",
]
TRAIN = [
    "accelerate>=1.10,<2",
    "huggingface_hub>=1.0,<3",
    "jinja2>=3.1,<4",
    "jiwer>=4,<5",
    "lhotse>=1.31,<2",
    "markupsafe>=2.1",
    "matplotlib>=3.9,<4",
    "omegaconf>=2.3,<3",
    "pyyaml>=6",
    "safetensors>=0.5",
    "tensorboard>=2.18,<3",
    "torch>=2.9,<3",
    "transformers>=5,<6",
    "urllib3>=2,<3",  # lhotse 1.33 imports it without asking for it.
]
ONNX = ["onnx>=1.19,<2"]
OPENVINO = [*ONNX, "openvino>=2026.4,<2027"]
TEXT = ["sentencepiece>=0.2"]
DECODER = ["peft>=0.17,<1"]
TASKS = [*DECODER, "scikit-learn>=1.6,<2", "scipy>=1.13,<2"]
DATASETS = ["pyarrow>=19,<27"]  # reads what datasets writes
CLOUD = ["gcsfs>=2025.3", "s3fs>=2025.3"]  # hf:// needs neither
PROSODY = ["praat-parselmouth>=0.4.5"]  # GPL-3.0, hence never a plain requirement.
SERVE = [
    "fastapi>=0.115,<1",
    "prometheus-client>=0.21,<1",
    "python-multipart>=0.0.18",
    "starlette>=0.40,<2",
    "uvicorn>=0.30,<1",
    "wsproto>=1.2,<2",
]
FORECAST = ["sacrebleu>=2.5,<3"]
TUNE = ["optuna>=4.2,<6"]
LEADERBOARD = ["whisper-normalizer>=0.1.12"]
LM = ["flashlight-text>=0.0.7; python_version < '3.13'"]  # carries KenLM; no wheels for 3.13 yet.
DOCS = [f"{line}; python_version >= '3.11'" for line in ("mkdocstrings-python>=2,<3", "zensical>=0.0.70,<1")]
TEST = [
    *DOCS,
    "onnx-asr>=0.12,<1",
    "sherpa-onnx>=2.0,<3",
    *SYNTHETIC,
    *OPENVINO,
    *TEXT,
    *LM,
    *TASKS,
    *DATASETS,
    *FORECAST,
    *TUNE,
    *LEADERBOARD,
    *SERVE,
    "build>=1.2",
    "hypothesis>=6.100",
    "mypy>=1.15",
    "openai>=2,<4",
    "pre-commit>=4",
    "pytest>=8.3",
    "pytest-xdist>=3.6",
    "ruff>=0.11",
    "selenium>=4.30,<5",
    "twine>=6.1",
    "websocket-client>=1.8,<2",
]

setup(
    name="bigfoot-speech",  # "bigfoot" on the package index is another project's.
    version=VERSION,
    description="Make a wav2vec2-like speech model small and fast, and prove what it cost",
    long_description=README.read_text(encoding="utf-8") if README.is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["bigfoot", "bigfoot.*"]),
    package_data={
        "bigfoot": [
            "py.typed", "assets/tiny_teacher/*", "assets/pages/*", "assets/web/*", "configs/*.yaml", "configs/*/*.yaml",
        ]
    },
    install_requires=BASE,
    extras_require={
        "synthetic": SYNTHETIC,
        "runtime": BASE,  # its name before the base install ran exported models alone
        "train": TRAIN,
        "onnx": ONNX,
        "openvino": OPENVINO,
        "text": TEXT,
        "lm": LM,
        "decoder": DECODER,
        "tasks": TASKS,
        "datasets": DATASETS,
        "cloud": CLOUD,
        "prosody": PROSODY,
        "forecast": FORECAST,
        "serve": SERVE,
        "tune": TUNE,
        "leaderboard": LEADERBOARD,
        "docs": DOCS,
        "test": TEST,
    },
    entry_points={"console_scripts": ["bigfoot=bigfoot.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Typing :: Typed",
    ],
)
