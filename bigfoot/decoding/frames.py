"""A search as a ``Transcriber`` uses it: the tokens of its best text, each in the frames where it stands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bigfoot.decoding.alignment import align_tokens
from bigfoot.decoding.hypotheses import Search


def decode_frames_by(search: Search, blank_id: int) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int64]]:
    """Return a function from logits to the token of every frame; without torch.

    Args:
        search: finds the text.
        blank_id: of the model's vocabulary.

    Returns:
        A function of (T, V) logits that gives (T,) ids: the likeliest alignment of the best text.

    Examples:
        >>> from bigfoot.decoding.beam import PrefixBeamSearch
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> decode = decode_frames_by(PrefixBeamSearch(CharTokenizer(("<pad>", "A"))), 0)
        >>> decode(np.log(np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1]]))).tolist()  # greedily, there is no A
        [1, 0, 0]
    """

    def decode(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        scores = logits.astype(np.float64)
        log_probs = scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
        found = np.full(len(log_probs), blank_id, dtype=np.int64)
        for token in align_tokens(log_probs, search.search(log_probs)[0].tokens, blank_id):
            found[token.begin : token.end] = token.token
        return found

    return decode
