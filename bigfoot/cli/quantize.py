"""``bigfoot quantize``: a model folder with quantized weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bigfoot.cli.options import ForceOption, ModelArgument, may_replace


def quantize(
    model: ModelArgument,
    destination: Annotated[
        Path, typer.Argument(help="Folder to write; one that bigfoot wrote there is replaced.", metavar="OUT")
    ],
    precision: Annotated[
        str, typer.Option(help="float16, bfloat16, int8, int8_dynamic, int8_static; float32 undoes it.")
    ],
    calibrate: Annotated[
        Path | None, typer.Option(help="Real audio for int8_static: a lhotse manifest, a folder or a file.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="Audio on which texts are compared; that of --calibrate by default.")
    ] = None,
    percentile: Annotated[float, typer.Option(help="Share of activations that a static range covers, in %.")] = 100.0,
    keep_fp32: Annotated[
        list[str] | None,
        typer.Option(help="A layer, or pattern, that stays in fp32; repeatable.", metavar="PATTERN"),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Write a model folder whose weights take fewer bytes: half with float16 and bfloat16, about a quarter with int8.

    It loads like any other model and computes in fp32 with the rounded weights.
    With int8_dynamic and int8_static the inputs of its layers are rounded to
    eight bits too, as in its exported file, with ranges from the current audio
    or measured on --calibrate; bigfoot export then writes that file with no
    further option. Quantize last: quantized weights are neither trained nor
    pruned. For example:

    bigfoot quantize runs/demo/finetune/model runs/small --precision int8_static --calibrate recordings/
    """
    from bigfoot.export.quantize import QuantizeRequest, run_quantize
    from bigfoot.storage.remote import mirrored

    with mirrored(destination) as folder:
        request = QuantizeRequest(
            model, folder, precision, calibrate=calibrate, check=check, percentile=percentile,
            keep_fp32=keep_fp32 or (), may=may_replace(force),
        )  # fmt: skip
        done = run_quantize(request, lambda note: typer.echo(f"note: {note}", err=True))
    typer.echo(done.change, err=True)
    typer.echo(f"{destination}: {precision}, {done.describe()}")
