import pytest

from espnet_psslm.text.prompt import PromptBook
from espnet_psslm.text.units import SentencePieceUnits
from tests.helpers import build_tokenizer


@pytest.fixture(scope="module")
def parts(units_folder, prompt_file):
    """What a preprocessor is made of."""
    tokenizer = build_tokenizer()
    return {
        "units": SentencePieceUnits(
            units_folder / "tokens.txt", bpemodel=units_folder / "bpe.model"
        ),
        "prompts": PromptBook(prompt_file, tokenizer),
        "end_id": tokenizer.eos_token_id,
    }
