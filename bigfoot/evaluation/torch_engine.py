"""A PyTorch model as the engine of a ``Transcriber``: what listens where nothing was exported."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from bigfoot.errors import ModelError
from bigfoot.evaluation.evaluate import missing_wer_reason
from bigfoot.formats.folder import LoadedModel
from bigfoot.runtime.engine import Answer, ModelFacts
from bigfoot.types import Samples


class TorchEngine:
    """A loaded model with a CTC head and a vocabulary.

    Args:
        loaded: see ``load_model``.
        threads: of PyTorch in the whole process; left as they are by default.

    Raises:
        ModelError: no head or no vocabulary.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> engine = TorchEngine(load_model("tiny_teacher"))
        >>> engine.run(np.zeros((1, 16000), np.float32), np.array([16000])).frames.tolist()
        [49]
    """

    def __init__(self, loaded: LoadedModel, threads: int | None = None) -> None:
        reason, tokenizer = missing_wer_reason(loaded), loaded.processor.tokenizer
        if reason or tokenizer is None:
            raise ModelError(f"{loaded.folder}: no text can come out of this model: {reason}")
        if threads is not None:
            torch.set_num_threads(threads)
        self.lanes = 1  # PyTorch's threads are the process's, and share every pass.
        self._model = loaded.model
        self.facts = ModelFacts(
            name=str(loaded.folder),
            tokenizer=tokenizer,
            stride=loaded.model.config.inputs_to_logits_ratio,
            receptive_field=loaded.model.config.receptive_field,
            normalizes=loaded.processor.do_normalize,
            sample_rate=loaded.processor.sample_rate,
        )

    @torch.no_grad()
    def run(self, input_values: Samples, lengths: npt.NDArray[np.int64], alone: bool = True) -> Answer:
        """Compute a batch; see ``bigfoot.runtime.engine.Engine``."""
        values = torch.from_numpy(input_values)
        mask = torch.arange(values.shape[1]) < torch.from_numpy(lengths)[:, None]
        output = self._model(values, mask)
        return Answer(output.logits.float().numpy(), output.frame_mask.sum(-1).numpy())
