"""Export to ExecuTorch with XNNPACK: one ``.pte`` file for audio up to a longest."""

from __future__ import annotations

import torch

from bigfoot.compress.quantize import Int8Plan
from bigfoot.errors import ModelError
from bigfoot.export.window import WINDOW, WindowExport, build_window, import_converter
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.program import ExportableModel
from bigfoot.types import Seconds

SUFFIX, PACKAGE = ".pte", "executorch"
_PARTITIONER = "executorch.backends.xnnpack.partition.xnnpack_partitioner"


def require_executorch() -> None:
    """Raise an error that names what is not installed.

    Raises:
        ModelError: executorch is missing.
    """
    import_converter("executorch.runtime", PACKAGE)


def build_executorch(
    loaded: LoadedModel, plan: Int8Plan | None = None, *, normalize: bool = False, window: Seconds = WINDOW
) -> WindowExport:
    """Lower a model to XNNPACK; a pass computes what it is given, up to the window.

    Args:
        loaded: with a CTC head.
        plan: None, for int8 has no form there.
        normalize: see ``build_window``.
        window: longest audio of a pass.

    Raises:
        ModelError: see ``build_window``; or an operator that ExecuTorch has not.
    """
    assert not (plan and plan.ranges), "refused before anything is loaded"
    return build_window(loaded, _convert, SUFFIX, normalize=normalize, window=window)


def _convert(model: ExportableModel, fewest: int, window: int) -> bytes:
    exir = import_converter("executorch.exir", PACKAGE)
    partitioner = import_converter(_PARTITIONER, PACKAGE).XnnpackPartitioner
    # Tensors are as large as the example's at the least, whatever lowering takes for the longest.
    example = (torch.zeros(1, window), torch.tensor([window]))
    samples = torch.export.Dim("samples", min=fewest, max=2 * window)
    try:
        program = torch.export.export(
            model, example, dynamic_shapes=({1: samples}, None), prefer_deferred_runtime_asserts_over_guards=True
        )
        # Its check of operators has none for what the program asserts of lengths, which goes right after.
        config = exir.EdgeCompileConfig(_check_ir_validity=False)
        lowered = exir.to_edge_transform_and_lower(program, partitioner=[partitioner()], compile_config=config)
        _drop_assertions(lowered.exported_program().graph_module)
        return bytes(lowered.to_executorch().buffer)
    except Exception as error:  # What they raise has no base of its own.
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ModelError(f"ExecuTorch cannot hold this shape ({first}); --to onnx can") from error


def _drop_assertions(module: torch.fx.GraphModule) -> None:
    """Drop what a program asserts of lengths: ExecuTorch has no operator for it.

    It is that there is more than one frame, and ``ExportableModel`` adds one.
    """
    for node in list(module.graph.nodes):
        if "_assert_scalar" in str(node.target):
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
