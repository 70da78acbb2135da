import pytest

from espnet_psslm.training.unheard import heard_shapes


def test_files_without_such_samples_stay(tmp_path):
    (tmp_path / "shape").write_text("a 7\nb 9\n")
    assert heard_shapes([f"{tmp_path}/shape"], tmp_path / "exp", mode="train") == [
        f"{tmp_path}/shape"
    ]
    assert not (tmp_path / "exp").exists()
    assert heard_shapes([], tmp_path, mode="train") == []


def test_they_are_left_out_counted_and_named(tmp_path, caplog):
    (tmp_path / "shape").write_text("a 7\nb 0\nc 9\nd 0\n")
    [path] = heard_shapes([f"{tmp_path}/shape"], tmp_path / "exp", mode="train")
    assert open(path).read() == "a 7\nc 9\n"
    assert (tmp_path / "exp/unheard_train.txt").read_text() == "b\nd\n"
    assert "2 of 4 samples (train) are left out" in caplog.text and "b, d" in caplog.text


def test_nothing_left_is_an_error(tmp_path):
    (tmp_path / "shape").write_text("a 0\n")
    with pytest.raises(ValueError, match="none of 1 samples has a unit of the vocabulary"):
        heard_shapes([f"{tmp_path}/shape"], tmp_path, mode="train")
