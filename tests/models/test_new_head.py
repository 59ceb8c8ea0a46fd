"""A new CTC head: random, or begun as the old one over other tokens."""

import pytest
import torch

from bigfoot.models.reshape import with_new_head
from bigfoot.text.pieces import PieceTokenizer
from bigfoot.text.tokenizers import CharTokenizer

LETTERS = CharTokenizer(("<pad>", "|", "O", "N", "E"))


def test_tokens_that_begin_as_one_share_its_probability(build_model):
    model = with_new_head(build_model("base"), len(LETTERS), LETTERS.blank_id, seed=1)
    torch.nn.init.normal_(model.head.bias, generator=torch.Generator().manual_seed(0))
    texts = (" ", " ON", "O", "N", "E", "ER", "EN", "")
    pieces = PieceTokenizer((*texts[:7], "<pad>"), texts, 7)
    origins = pieces.find_first_letters(LETTERS)
    assert origins == [1, 2, 2, 3, 4, 4, 4, 0]
    new = with_new_head(model, len(pieces), pieces.blank_id, seed=2, origins=origins)
    waves = torch.randn(1, 4000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = model(waves).logits.softmax(-1), new(waves).logits.softmax(-1)
    summed = torch.zeros_like(before).index_add_(2, torch.tensor(origins), after)
    torch.testing.assert_close(summed, before, atol=1e-6, rtol=1e-5)
    assert new.config.pad_token_id == 7


def test_a_token_without_an_origin_is_random(build_model):
    model = with_new_head(build_model("base"), 3, 0, seed=1)
    plain = with_new_head(model, 2, 0, seed=2).head.weight
    mixed = with_new_head(model, 2, 0, seed=2, origins=[0, None]).head.weight
    assert torch.equal(mixed[1], plain[1]) and torch.equal(mixed[0], model.head.weight[0])


@pytest.mark.parametrize("text", ["ONE", "NO NEON"])
def test_every_letter_is_found_whatever_it_stands_in(text):
    found = PieceTokenizer(("<pad>", text), ("", text), 0).find_first_letters(LETTERS)
    assert LETTERS.vocabulary[found[1]] == text[0]
