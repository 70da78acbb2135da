import pytest

from espnet_psslm.acoustic.sensevoice import BPE_MODEL
from espnet_psslm.text.sensevoice_units import SenseVoiceUnits


@pytest.fixture(scope="module")
def units(shared_data):
    return SenseVoiceUnits(shared_data / "sensevoice_frontend" / BPE_MODEL)


def test_text_and_back(units):
    assert units.num_units == 25055 == len(units.tokens)
    for text in ("turn on the light", "打开灯", "何時ですか"):
        ids = units.encode(text)
        assert ids and 0 not in ids
        assert units.decode(ids).replace(" ", "") == text.replace(" ", "")


def test_what_has_no_unit_is_counted_and_no_blank(units):
    before = units.num_dropped
    assert 0 not in units.encode("light \u16a0 on")
    assert units.num_dropped > before


def test_labels_have_no_text(units):
    texts = units.unit_texts()
    label = units.tokens.index("<|en|>")
    assert texts[0] == texts[label] == ""
    assert units.decode([label, *units.encode("light")]) == "light"
    assert any(text.startswith(" ") for text in texts)


def test_errors(units, tmp_path):
    with pytest.raises(ValueError, match="25055"):
        units.decode([25055])
    with pytest.raises(ValueError, match="--bpemodel"):
        SenseVoiceUnits(tmp_path / "no.model")
