"""Every kind of units through training and decoding; ESPnet's own tools take what they can."""

import pytest
import torch
import yaml

from espnet_psslm.bin import asr_inference, asr_train
from espnet_psslm.bin.train_units import main as train_units
from tests.ctc_setting import NUM_UTTS, Setting
from tests.helpers import build_tokenizer, run_and_fail


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path_factory.mktemp("vocabularies"))


def unit_options(setting: Setting, kind: str) -> list[str]:
    """Stage 5 for one kind, and the options of stage 6."""
    folder = setting.folder / kind
    options = []
    if kind == "hf":
        build_tokenizer().save_pretrained(folder / "tokenizer")
        options = ["--source", str(folder / "tokenizer")]
    elif kind == "list":
        folder.mkdir()
        (folder / "own").write_text("low 1\nmid 2\nhigh 3\n")
        options = ["--source", str(folder / "own")]
    elif kind == "phn":
        options = ["--phone_language", "en-us"]
    command = ["--text", str(setting.data / "text"), "--model_type", kind, *options]
    train_units([*command, "--output_dir", str(folder / "units")])
    bpemodel = str(folder / "units/tokenizer.json") if kind == "hf" else "none"
    language = ["--phone_language", "en-us"] if kind == "phn" else []
    tokens = str(folder / "units/tokens.txt")
    return ["--token_type", kind, "--token_list", tokens, "--bpemodel", bpemodel, *language]


@pytest.mark.parametrize("kind", ["char", "list", "hf", "phn"])
def test_train_and_decode(setting: Setting, kind: str, capsys: pytest.CaptureFixture) -> None:
    from espnet2.bin.asr_inference import Speech2Text

    if kind == "phn":
        pytest.importorskip("phonemizer", reason="needs the extra 'phones'")
    exp = setting.folder / kind / "exp"
    command = setting.command(exp, max_epoch=1, keep_nbest_models=1, model="gathered_ctc")
    # Letters are many for these short tones.
    short = ["--encoder_conf", "conv_stride=1", "--encoder_conf", "conv_kernel=1"]
    asr_train.main([*command, *unit_options(setting, kind), *short])
    assert (exp / "ctc_too_short_train.txt").read_text() == ""
    output = setting.folder / kind / "decode"
    asr_inference.main([*setting.model_options(exp), "--output_dir", str(output)])
    assert len((output / "1best_recog/text").read_text().splitlines()) == NUM_UTTS

    def stock() -> Speech2Text:
        files = {"asr_train_config": str(exp / "config.yaml"), "ctc_weight": 1.0, "lm_weight": 0.0}
        return Speech2Text(asr_model_file=str(exp / "1epoch.pth"), beam_size=2, **files)

    if kind in ("char", "phn"):
        assert isinstance(stock()(torch.zeros(8000).numpy())[0][0], str)
    else:
        with pytest.raises(ValueError, match=f"must be one of .*: {kind}"):
            stock()


def test_gathered_loss_trains_as_espnets(setting: Setting) -> None:
    states, losses = [], []
    for model in ("espnet", "gathered_ctc"):
        exp = setting.folder / model
        asr_train.main(setting.command(exp, max_epoch=2, model=model))
        states.append(torch.load(exp / "2epoch.pth"))
        stats = torch.load(exp / "checkpoint.pth")["reporter"]["stats"]
        losses.append(stats[2]["valid"]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    torch.testing.assert_close(*states, atol=1e-4, rtol=1e-3)


def test_gathered_loss_leaves_options_of_the_dense_one(
    setting: Setting, capsys: pytest.CaptureFixture
) -> None:
    command = setting.command(setting.folder / "bad", model="gathered_ctc")
    line = run_and_fail(asr_train.main, [*command, "--ctc_conf", "ctc_type=builtin2"], capsys)
    assert "takes no ctc_conf: ['ctc_type']" in line


def test_phone_language_is_kept(setting: Setting) -> None:
    config = yaml.safe_load((setting.folder / "phn/exp/config.yaml").read_text())
    assert config["token_type"] == "phn" and config["phone_language"] == "en-us"
