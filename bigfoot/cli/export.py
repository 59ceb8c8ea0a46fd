"""``bigfoot export``: a model as a file or folder for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bigfoot.cli.options import ForceOption, ModelArgument, may_replace

To = Annotated[
    str,
    typer.Option(
        help="onnx, streaming, openvino (.xml), torch-export (.pt2), litert (.tflite), executorch (.pte), or a folder: "
        "sherpa, onnx-asr, web, transformers-js."
    ),
]
Calibration = Annotated[
    Path | None, typer.Option(help="Real audio for static ranges: a lhotse manifest, a folder or a file.")
]


def export(
    model: ModelArgument,
    destination: Annotated[
        Path, typer.Argument(help="File or folder to write; an export there is replaced.", metavar="OUT")
    ],
    to: To = "onnx",
    int8: Annotated[str | None, typer.Option(help="static (ranges from --calibrate) or dynamic; fp32 without.")] = None,
    calibrate: Calibration = None,
    check: Annotated[
        Path | None, typer.Option(help="Audio on which file and model are compared; that of --calibrate by default.")
    ] = None,
    percentile: Annotated[float, typer.Option(help="Share of activations that a static range covers, in %.")] = 100.0,
    max_wer_rise: Annotated[float, typer.Option(help="Points of WER that int8 may cost.")] = 0.5,
    fallback: Annotated[bool, typer.Option("--fallback", help="Worst layers in fp32 if it would be refused.")] = False,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Bring audio to zero mean and unit variance inside the file.")
    ] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Choose the precision: the fastest on this machine that passes the gate.")
    ] = False,
    window: Annotated[
        float | None, typer.Option(help="Seconds of the longest pass of litert and executorch; 15 by default.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Write a model as a file or folder that other runtimes run, compared with the model on audio before it is written.

    Lengths are an input, batch and time are dynamic, vocabulary and metadata
    are embedded. An int8 file whose WER is worse than the model's is refused,
    and the responsible layers are named. A folder of bigfoot quantize that
    computes in int8 keeps its own scheme, without --int8. For example:

    bigfoot export runs/demo/finetune/model student.onnx --int8 static --calibrate recordings/
    """
    from bigfoot.export.command import ExportRequest, run_export
    from bigfoot.export.targets import writes_folder
    from bigfoot.measure.deployed import measure_file_bytes
    from bigfoot.storage.remote import mirrored, written

    with mirrored(destination) if writes_folder(to) else written(destination, force) as file:
        request = ExportRequest(
            model, file, to=to, int8=int8, calibrate=calibrate, check=check, percentile=percentile,
            max_wer_rise=max_wer_rise / 100, fallback=fallback, normalize=normalize, tune=tune, window=window,
            may=may_replace(force),
        )  # fmt: skip
        parity = run_export(request, lambda note: typer.echo(f"note: {note}", err=True))
        size = measure_file_bytes(file)
    typer.echo(f"{destination}: {size / 1e6:.1f} MB; {parity.describe()}")
