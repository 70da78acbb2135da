"""What psslm.sh runs, told by an interpreter that runs nothing and writes down what it is asked."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_psslm.common.lock import folder_lock

ROOT = Path(__file__).resolve().parents[3]
STUB = (
    f"""#!/usr/bin/env bash
# What starts commands is real.
case "$1" in
    */stage_log.py | */start.py) exec {sys.executable} "$@" ;;
    */lock_folder.py) exit ;;
esac
"""
    + """
echo "$*" >>"$SAID"
echo "${OMP_NUM_THREADS:-}" >>"$SAID.threads"
case "$2" in
    espnet_psslm.bin.split_data) echo "${PARTS:-2}" ;;
    espnet_psslm.bin.dump_steps) mkdir -p "$(sed 's/.*--output_dir \\([^ ]*\\).*/\\1/' <<<"$*")" ;;
    "$FAILS") exit 3 ;;
esac
"""
)
MADE = (
    *(f"data/{name}/{file}" for name in ("train", "train_text") for file in ("text", "wav.scp")),
    *("data/train_text/psslm.jsonl", "data/dev/wav.scp", "data/test/wav.scp"),
    *(
        f"dump/raw/{name}/{file}"
        for name in ("train", "dev", "test")
        for file in ("wav.scp", "text", "psslm.jsonl", "speech_shape")
    ),
    *(f"dump/steps/{name}/{file}" for name in ("train", "dev") for file in ("psslm.jsonl",)),
    *(f"dump/steps/{name}/stats.json" for name in ("train", "dev")),
    *("data/token_list/char_1000/tokens.txt", "exp/ctc/valid.loss.ave.pth", "exp/simulation.yaml"),
)
OF_A_BRIDGE = (
    *("psslm_stats/text/train/length_shape", "psslm_stats/sft/train/length_shape"),
    *("psslm_text/valid.acc.ave.pth", "psslm_sft/valid.acc.ave.pth", "results.json", "RESULTS.md"),
    *("psslm_text/decode/test/stats.json", "psslm.zip"),
)


class Told:
    """Log, and the commands, of one run."""

    def __init__(self, code: int, log: str, commands: list[str]) -> None:
        self.code, self.log, self.commands = code, log, commands

    def of(self, module: str) -> list[str]:
        return [line for line in self.commands if f"espnet_psslm.bin.{module} " in line]


@pytest.fixture
def psslm(tmp_path):
    stub = tmp_path / "bin/python"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    systems = [f"exp/{name}" for name in OF_A_BRIDGE] + [f"exp/new/{name}" for name in OF_A_BRIDGE]
    for name in (*MADE, *systems, "exp/new/ctc/valid.loss.ave.pth"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("made\n")
    (tmp_path / "exp/ctc/decode/test/1best_recog").mkdir(parents=True)
    (tmp_path / "exp/ctc/decode/test/1best_recog/text").write_text("made\n")
    (tmp_path / "exp/new/ctc/decode/test/1best_recog").mkdir(parents=True)
    (tmp_path / "exp/new/ctc/decode/test/1best_recog/text").write_text("made\n")

    def run(*options, root=ROOT, recipe="slurp", **variables):
        said = tmp_path / "said"
        said.write_text("")
        command = [str(root / f"egs2/{recipe}/psslm1/run.sh"), "--python", str(stub)]
        command += ["--datadir", f"{tmp_path}/data", "--dumpdir", f"{tmp_path}/dump"]
        command += ["--expdir", f"{tmp_path}/exp", "--unit_type", "char", *options]
        env = os.environ | {"SAID": str(said), "FAILS": "none"} | variables
        out = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        return Told(out.returncode, out.stderr, said.read_text().splitlines())

    return run


def only(stage):
    return (f"--stage={stage}", f"--stop_stage={stage}")


def test_one_process_without_options(psslm):
    told = psslm("--stage=6", "--stop_stage=14")
    assert told.code == 0, told.log
    [trained] = told.of("asr_train")
    assert trained.endswith("--ngpu 0")
    assert all(line.endswith(" --ngpu 0") for line in told.of("psslm_train"))
    assert len(told.of("psslm_train")) == 4 and len(told.of("psslm_inference")) == 3
    assert not told.of("split_data") and not told.of("join_jobs")
    assert not any("PSSLM_" in line for line in told.commands)
    for line in told.of("psslm_inference"):
        assert "--batch_size" not in line and "--beam_size" not in line
    assert "/dump/raw/test/psslm.jsonl --output_dir" in told.of("psslm_inference")[0]


@pytest.mark.parametrize(
    ("option", "left"),
    [
        ("--skip_data_prep=true", "6 7 8 9 10 11 12 13 14 15"),
        ("--skip_train=true", "1 3 4 5 7 12 13 14 15"),
        ("--skip_eval=true", "1 3 4 5 6 8 9 10 11 14 15"),
        ("--skip_packing=true", "1 3 4 5 6 7 8 9 10 11 12 13"),
    ],
)
def test_stages_that_are_skipped(psslm, tmp_path, option, left):
    (tmp_path / "corpus").mkdir()
    told = psslm(option, SLURP=str(tmp_path / "corpus"))
    assert told.code == 0, told.log
    begun = [
        line.split("Stage ")[1].split(":")[0] for line in told.log.splitlines() if " Stage " in line
    ]
    assert begun == left.split()
    packed = told.of("pack")
    assert all(("results.json" in line) == (option != "--skip_eval=true") for line in packed)


def test_what_is_outside_is_calibrated_before_packing(psslm, tmp_path):
    told = psslm(
        *only(14), "--outside_share=0.02", "--device=cpu", "--inference_args=--maxlenratio 2"
    )
    assert told.code == 0, told.log
    [calibrated], [packed] = told.of("calibrate"), told.of("pack")
    assert told.commands.index(calibrated) < told.commands.index(packed)
    exp = f"{tmp_path}/exp/psslm_sft"
    read = (
        f"--manifest {tmp_path}/dump/steps/dev/psslm.jsonl --text {tmp_path}/data/train_text/text"
    )
    assert f"{read} --output {exp}/outside.yaml" in calibrated
    assert f"--share 0.02 --psslm_train_config {exp}/config.yaml" in calibrated
    assert calibrated.endswith(" --device cpu --maxlenratio 2")
    assert packed.endswith(f" --outside {exp}/outside.yaml")


def test_packs_without_such_a_check(psslm):
    told = psslm(*only(14))
    assert told.code == 0, told.log
    assert not told.of("calibrate") and "--outside" not in told.of("pack")[0]


def test_a_check_needs_dumped_steps(psslm, tmp_path):
    (tmp_path / "dump/steps/dev/psslm.jsonl").unlink()
    told = psslm(*only(14), "--outside_share=0.02")
    assert told.code != 0 and "dump/steps/dev/psslm.jsonl: run stage 8 first" in told.log
    assert not told.of("pack")


@pytest.mark.parametrize("decode_cmd", ["", "../../../local/run.py --mem 1G", "env X=1"])
def test_decoding_in_jobs(psslm, tmp_path, decode_cmd):
    told = psslm("--stage=7", "--stop_stage=8", "--inference_nj=2", decode_cmd=decode_cmd)
    assert told.code == 0, told.log
    decode = f"{tmp_path}/exp/ctc/decode/test"
    jobs = sorted(line for line in told.of("asr_inference") if "/decode/test/" in line)
    for job, line in enumerate(jobs, 1):
        assert f"--data_dir {decode}/split/{job} --output_dir {decode}/jobs/{job} " in line
    assert len(jobs) == 2 and len(told.of("dump_steps")) == 4
    assert all(line.endswith(" --judge_skipped false") for line in jobs + told.of("dump_steps"))
    joined = f"--data_dir {tmp_path}/dump/raw/test --nj 2 --output_dir {decode}"
    assert any(line.endswith(joined) for line in told.of("join_jobs"))
    assert "# Ended (code 0)" in Path(f"{decode}/decode.2.log").read_text()


@pytest.mark.parametrize(("jobs", "given"), [(1, ""), (2, ""), (2, "3")])
def test_jobs_share_the_cores(psslm, tmp_path, jobs, given):
    told = psslm(
        *only(12), f"--inference_nj={jobs}", "--sft=false", "--oracle_task=", PARTS=str(jobs),
        OMP_NUM_THREADS=given,
    )  # fmt: skip
    assert told.code == 0, told.log
    share = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    threads = given or (share if jobs > 1 else "")
    heard = zip(told.commands, (tmp_path / "said.threads").read_text().splitlines(), strict=True)
    assert [n for line, n in heard if ".psslm_inference " in line] == [threads] * jobs


@pytest.mark.parametrize("allowed", ["true", "false"])
def test_pipes_when_asked_for(psslm, tmp_path, allowed):
    (tmp_path / "data/train_sp").mkdir()
    (tmp_path / "data/train_sp/wav.scp").write_text("made\n")
    options = [f"--allow_pipes={allowed}"] if allowed == "true" else []
    told = psslm("--stage=2", "--stop_stage=3", "--speed_perturb_factors=0.9 1.0", *options)
    assert told.code == 0, told.log
    lines = told.of("perturb_speed") + told.of("format_wav")
    assert len(lines) > 2 and all(f"--allow_pipes {allowed}" in line for line in lines)


def test_a_set_too_small_for_jobs(psslm, tmp_path):
    told = psslm(*only(12), "--inference_nj=2", "--sft=false", "--oracle_task=", PARTS="1")
    assert told.code == 0, told.log
    assert len(told.of("split_data")) == 1 and not told.of("join_jobs")
    assert f"{tmp_path}/dump/raw/test/psslm.jsonl" in told.of("psslm_inference")[0]
    assert "--judge_skipped" not in told.of("psslm_inference")[0]


def test_what_jobs_leave_out_is_judged_where_they_are_joined(psslm):
    told = psslm(*only(12), "--inference_nj=2", "--sft=false", "--oracle_task=")
    assert told.code == 0, told.log
    assert len(told.of("psslm_inference")) == 2 and len(told.of("join_jobs")) == 1
    assert all(line.endswith(" --judge_skipped false") for line in told.of("psslm_inference"))


def test_sets_without_audio(psslm, tmp_path):
    """Copied by stage 3, heard as noise-free simulation, scored behind the others."""
    (tmp_path / "data/gold").mkdir()
    (tmp_path / "data/gold/psslm.jsonl").write_text("made\n")
    text = "--text_test_sets=gold"
    told = psslm(*only(3), text)
    assert told.code == 0, told.log
    assert (tmp_path / "dump/raw/gold/psslm.jsonl").read_text() == "made\n"
    assert not any("/gold" in line for line in told.of("format_wav"))
    told = psslm("--stage=12", "--stop_stage=13", "--sft=false", "--oracle_task=", text)
    assert told.code == 0, told.log
    heard, gold = told.of("psslm_inference")
    assert "--oracle" not in heard and f"--manifest {tmp_path}/dump/raw/gold/psslm.jsonl" in gold
    assert "/psslm_text/decode/gold " in gold and gold.rstrip().endswith("--oracle true")
    assert " --test_sets test gold --ctc_exp " in told.of("collect_results")[0]


def test_sets_that_the_text_only_bridge_answers_alone(psslm, tmp_path):
    for name in ("wav.scp", "text", "psslm.jsonl", "speech_shape"):
        for place in ("data", "dump/raw"):
            (tmp_path / place / "other").mkdir(parents=True, exist_ok=True)
            (tmp_path / place / "other" / name).write_text("made\n")
    other = "--plain_test_sets=other"
    told = psslm("--stage=3", "--stop_stage=4", other)
    assert any("/raw/other" in line for line in told.of("format_wav"))
    assert any("/raw/other" in line for line in told.of("filter_data"))
    told = psslm(*only(7), other)
    assert any("/decode/other" in line for line in told.of("asr_inference"))
    told = psslm("--stage=12", "--stop_stage=13", other)
    assert told.code == 0, told.log
    [heard] = [line for line in told.of("psslm_inference") if "/raw/other/" in line]
    assert "/psslm_text/decode/other " in heard and "--oracle" not in heard
    assert " --test_sets test --plain_test_sets other " in told.of("collect_results")[0]
    assert not any("/other" in line for line in told.of("forgetting"))


def test_a_failed_job_is_named(psslm):
    told = psslm(*only(12), "--inference_nj=2", FAILS="espnet_psslm.bin.psslm_inference")
    assert told.code == 1
    assert "run.py: job 1 failed with status 3" in told.log
    assert "2 of 2 jobs failed; the same command runs only these again" in told.log
    assert not told.of("join_jobs")


@pytest.mark.parametrize("device", ["auto", "cuda:1", "npu"])
def test_a_gpu_for_each_decoding(psslm, tmp_path, device):
    """Which kind it is stays as --device says: a cluster of NPUs has no cuda."""
    queue = tmp_path / "bin/queue.py"
    queue.write_text(f'#!/usr/bin/env bash\necho "$*" >>{tmp_path}/queued\n')
    queue.chmod(0o755)
    options = ["--gpu_inference=true", f"--device={device}"]
    told = psslm(*only(12), *options, decode_cmd=f"{queue} --partition gpu")
    assert told.code == 0, told.log
    queued = (tmp_path / "queued").read_text().splitlines()
    assert len(queued) == 3 and not told.of("psslm_inference")
    assert all(line.startswith("--gpu 1 --partition gpu ") for line in queued)
    assert all(f" --device {device} " in f"{line} " for line in queued)
    told = psslm(*only(12), "--gpu_inference=true")
    assert told.code == 0 and len(told.of("psslm_inference")) == 3
    assert all(" --device auto " in f"{line} " for line in told.of("psslm_inference"))


def test_decoding_on_the_host(psslm):
    told = psslm(*only(12), "--gpu_inference=false")
    assert told.code == 0 and len(told.of("psslm_inference")) == 3
    assert all(" --device cpu " in f"{line} " for line in told.of("psslm_inference"))


def test_several_gpus_through_the_launcher(psslm, tmp_path):
    told = psslm("--stage=6", "--stop_stage=11", "--ngpu=2")
    assert told.code == 0, told.log
    launched = [line for line in told.commands if line.startswith("-m espnet2.bin.launch")]
    assert len(launched) == 3  # of the CTC model, the bridge, and the bridge with audio
    assert f"--cmd {ROOT}/local/run.py --log {tmp_path}/exp/ctc/train.log" in launched[0]
    assert "--ngpu 2 --num_nodes 1 --init_file_prefix" in launched[0]
    assert "--multiprocessing_distributed true -- " in launched[0]
    assert len(told.of("psslm_train")) == 4
    statistics = [line for line in told.of("psslm_train") if "--collect_stats" in line]
    assert all(line.endswith("--ngpu 0") for line in statistics)


def test_several_nodes(psslm):
    command = f"{ROOT}/local/slurm.py --partition gpu"
    told = psslm(*only(11), "--ngpu=4", "--num_nodes=2", train_cmd=command)
    assert told.code == 0, told.log
    assert f"--cmd {command} --log" in told.commands[0] and "--num_nodes 2" in told.commands[0]


def test_one_gpu_behind_a_script(psslm):
    told = psslm(*only(11), "--ngpu=1", "--sft=false", train_cmd="../../../local/run.py")
    assert told.code == 0, told.log
    assert told.commands[0].endswith("--ngpu 1")


@pytest.mark.parametrize(
    ("options", "variables", "message"),
    [
        (["--num_nodes=2"], {}, "--ngpu 0 --num_nodes 2: set train_cmd in cmd.sh"),
        (["--ngpu=2"], {"train_cmd": "srun"}, "it is 'srun'"),
        (["--gpu_inference=yes"], {}, "--gpu_inference yes: use auto, true or false"),
    ],
)
def test_options_that_do_not_fit(psslm, options, variables, message):
    told = psslm(*only(11), *options, **variables)
    assert told.code == 1 and message in told.log.splitlines()[-1]


def simulated_by(told):
    """What the options of the bridge's trainings say of the simulator; all say the same."""
    [said] = {
        " ".join(re.findall(r"--simulator(?:_conf)? \S+", line)) for line in told.of("psslm_train")
    }
    return said


def test_the_learned_simulator(psslm, tmp_path):
    learned = ("--simulator=learned", "--harder=0.3 0.9", "--sft=false", "--seed=4")
    told = psslm(*only(8), *learned)
    assert told.code == 0, told.log
    steps = f"{tmp_path}/dump/steps"
    plain, weak, strong = told.of("dump_steps")
    assert f"--output_dir {steps}/dev " in plain and "--harder" not in plain
    for line, strength in ((weak, "0.3"), (strong, "0.9")):
        assert f"--data_dir {tmp_path}/dump/raw/train " in line
        assert f"--output_dir {steps}/train_harder{strength} " in line
        assert f" --harder {strength}" in line
    told = psslm(*only(9), *learned)
    assert told.code == 1
    assert "train_harder0.3/psslm.jsonl: run stage 8 first" in told.log.splitlines()[-1]
    for strength in ("0.3", "0.9"):
        (tmp_path / f"dump/steps/train_harder{strength}/psslm.jsonl").write_text("made\n")
    told = psslm(*only(9), *learned, "--simulator_args=--max_epoch 3")
    assert told.code == 0, told.log
    assert len(told.of("simulation_stats")) == 1
    train, dev = told.of("simulator_pairs")
    both = f"{steps}/train_harder0.3/psslm.jsonl {steps}/train_harder0.9/psslm.jsonl"
    assert f"--steps_manifest {both} " in train and f"--steps_manifest {steps}/dev/psslm" in dev
    [trained], [judged] = told.of("simulator_train"), told.of("simulation_distance")
    assert "--config ../../../conf/train_simulator.yaml " in trained
    assert f"_type {steps}/pairs/train.jsonl,sample,psslm_jsonl --valid_data" in trained
    assert " --seed 4 --resume false " in trained and trained.endswith("--max_epoch 3 --ngpu 0")
    assert f"--steps_manifest {steps}/dev/psslm.jsonl " in judged
    told = psslm(*only(10), *learned)
    assert told.code == 1 and "valid.loss.ave.pth: run stage 9 first" in told.log.splitlines()[-1]
    (tmp_path / "exp/simulator").mkdir()
    (tmp_path / "exp/simulator/valid.loss.ave.pth").write_text("made\n")
    told = psslm("--stage=10", "--stop_stage=11", *learned)
    assert told.code == 0, told.log
    exp = f"{tmp_path}/exp/simul"
    files = f"train_config={exp}ator/config.yaml --simulator_conf model_file={exp}ator/valid.loss"
    measured = f"--simulator_conf measured={exp}ation.yaml"
    said = f"--simulator learned {measured} --simulator_conf {files}.ave.pth"
    assert simulated_by(told) == said


def test_the_simulator_is_that_of_the_settings(psslm, tmp_path):
    """Without an option; stage 9 measures nothing for a simulator that needs nothing."""
    told = psslm("--stage=9", "--stop_stage=11")
    assert told.code == 0, told.log
    conf = f"--simulator_conf measured={tmp_path}/exp/simulation.yaml"
    assert simulated_by(told) == f"--simulator measured {conf}" and told.of("simulation_stats")
    legoslm = "--psslm_config=../../../conf/systems/legoslm.yaml"
    for options in ((legoslm,), ("--simulator=tasu",)):
        told = psslm("--stage=9", "--stop_stage=11", *options)
        assert told.code == 0, told.log
        assert simulated_by(told) == "--simulator tasu" and not told.of("simulation_stats")
    told = psslm(*only(9), "--simulator=guessed")
    assert told.code == 1
    assert "--simulator guessed is unknown: use measured, learned or tasu" in told.log


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), ""),
        (("--blank_threshold=0.9",), "--reduction_conf blank_threshold=0.9"),
        (
            ("--reduction=drop_then_merge", "--blank_threshold=0.7", "--max_units=4"),
            "--reduction drop_then_merge --reduction_conf blank_threshold=0.7 "
            "--reduction_conf max_units=4",
        ),
    ],
)
def test_steps_are_made_in_one_way(psslm, options, said):
    """By the settings of the bridge, or what goes before them: dumped, and trained on."""
    told = psslm("--stage=8", "--stop_stage=11", *options)
    assert told.code == 0, told.log
    dumped, trained = told.of("dump_steps"), told.of("psslm_train")
    assert len(dumped) == 2 and len(trained) == 4
    for line in dumped + trained:
        found = re.findall(r"--(?:reduction|blank_threshold|max_units)(?:_conf)? \S+", line)
        assert " ".join(found) == said
    assert all("--psslm_config ../../../conf/train_psslm.yaml " in line for line in dumped)
    told = psslm(*only(12), *options)
    assert told.code == 0, told.log
    checked = told.of("check_reduction")
    assert len(checked) == (2 if said else 0) and all(line.endswith(said) for line in checked)
    told = psslm(*only(12), *options, FAILS="espnet_psslm.bin.check_reduction")
    assert bool(told.of("psslm_inference")) == (not said)


def test_another_bridge(psslm, tmp_path):
    options = ["--psslm_tag=new", "--pretrained_model=old.pth", "--inference_config=x.yaml"]
    told = psslm("--stage=10", *options, "--beam_size=2", "--hf_repo=name/model")
    assert told.code == 0, told.log
    text, *_ = [line for line in told.of("psslm_train") if "--train_shape_file" in line]
    assert f"--output_dir {tmp_path}/exp/new/psslm_text " in text and "--init_param old.pth" in text
    assert f"{tmp_path}/exp/ctc/valid.loss.ave.pth" in text
    for line in told.of("psslm_inference"):
        assert f"{tmp_path}/exp/new/psslm_" in line and "--config x.yaml --beam_size 2" in line
    assert f"--expdir {tmp_path}/exp/new " in told.of("collect_results")[0]
    assert f"--outpath {tmp_path}/exp/new/psslm.zip" in told.of("pack")[0]
    assert f"--archive {tmp_path}/exp/new/psslm.zip --repo name/model" in told.commands[-2]
    assert "--print_table true" in told.commands[-1]


def test_a_packed_model(psslm, tmp_path):
    told = psslm("--skip_data_prep=true", "--download_model=user/new", "--stop_stage=13")
    assert told.code == 0, told.log
    assert not told.of("psslm_train") and not told.of("asr_train") and not told.of("dump_steps")
    [linked] = told.of("unpack")
    assert f"--model user/new --psslm_exp {tmp_path}/exp/new/psslm_text" in linked
    assert f"{tmp_path}/exp/new/ctc/config.yaml" in told.of("asr_inference")[0]
    assert len(told.of("psslm_inference")) == 2
    prompts = f"--prompt_file {tmp_path}/exp/new/psslm_text/prompts.jsonl"
    assert prompts in told.of("collect_results")[0]


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("egs2/*/psslm1/cmd.sh")), ids=lambda path: path.parts[-3]
)
def test_the_environment_may_say_how_stages_are_started(path):
    env = os.environ | {"train_cmd": "srun --gpus=1", "decode_cmd": "env"}
    command = ["bash", "-c", f"set -u; . {path}; echo $train_cmd, $decode_cmd"]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert out.stdout == "srun --gpus=1, env\n"


def test_two_runs_in_one_folder(psslm, tmp_path):
    """The locks are real here."""
    stub = tmp_path / "bin/python"
    first, rest = stub.read_text().split("esac", 1)
    lock = f'if [[ $1 == */lock_folder.py ]]; then exec {sys.executable} "$@"; fi\n'
    stub.write_text(first.replace("case ", lock + "case ", 1) + "esac" + rest)
    decode = ("--stage", "12", "--stop_stage", "12")
    with folder_lock(tmp_path / "exp/new"):
        refused = psslm(*decode, "--psslm_tag", "new")
        assert refused.code == 1 and not refused.commands
        assert f"ERROR: {tmp_path}/exp/new: process {os.getpid()} on" in refused.log
        told = psslm(*decode)  # another bridge
        assert told.code == 0, told.log
    with folder_lock(tmp_path / "data"):
        assert psslm("--stage", "4", "--stop_stage", "4").code == 1
        assert psslm(*decode).code == 0


@pytest.mark.parametrize("name", ["a b", "it's (1) & [2]"])
@pytest.mark.parametrize("decode_cmd", ["", "env X=1", "'{root}/local/run.py' --mem 1G"])
def test_a_checkout_whose_path_has_blanks(psslm, tmp_path, name, decode_cmd):
    """Decoding in jobs, and a training on two devices, through our own launcher."""
    (tmp_path / name).symlink_to(ROOT)
    decode_cmd = decode_cmd.replace("{root}", "../../.." if "'" in name else f"{tmp_path}/{name}")
    options = [*only(12), "--inference_nj=2", "--sft=false", "--oracle_task="]
    told = psslm(*options, root=tmp_path / name, decode_cmd=decode_cmd)
    assert told.code == 0, told.log
    assert len(told.of("psslm_inference")) == 2 and len(told.of("join_jobs")) == 1
    told = psslm(*only(6), "--ngpu=2", root=tmp_path / name)
    assert told.code == 0, told.log
    [launched] = [line for line in told.commands if "espnet2.bin.launch" in line]
    [cmd] = re.findall(r"--cmd (.*) --log ", launched)
    assert Path(shlex.split(cmd)[0]) == tmp_path / name / "local/run.py"


def test_words_in_quotes_stay_whole(psslm, tmp_path):
    """Of an option that holds several; the interpreter here joins its words by ``^``."""
    stub = tmp_path / "bin/python"
    stub.write_text(STUB.replace('echo "$*" >>', '(IFS=^; echo "$*") >>'))
    told = psslm(*only(6), "--ctc_args", "--init_param 'my models/x.pth' --max_epoch 3")
    assert told.code == 0, told.log
    [line] = [line for line in told.commands if "asr_train" in line]
    assert "^--init_param^my models/x.pth^--max_epoch^3^" in line
    told = psslm(*only(6), "--ctc_args", "--init_param 'my models/x.pth")
    assert told.code == 1
    assert told.log.splitlines()[-1].endswith(
        "a quote is not closed in: --init_param 'my models/x.pth"
    )


@pytest.mark.parametrize("option", ["--real_data", "--real_train"])
def test_recordings_whose_path_has_blanks(psslm, tmp_path, option):
    stub = tmp_path / "bin/python"
    stub.write_text(STUB.replace('echo "$*" >>', '(IFS=^; echo "$*") >>'))
    path = tmp_path / "my & their own/it's real.jsonl"
    path.parent.mkdir()
    path.write_text("{}\n")
    more = {"PATH": f"{stub.parent}:{os.environ['PATH']}"}
    options = [*only(1), "--voices", "espeak", option, str(path)]
    told = psslm(*options, recipe="mini", **more)
    assert told.code == 0, told.log
    [line] = [line for line in told.commands if "prepare_data.py" in line]
    assert f"^{option}^{path}" in line


def test_folders_whose_names_have_blanks(psslm, tmp_path):
    for name in ("data", "dump", "exp"):
        (tmp_path / f"my {name}").symlink_to(name)
    stub = tmp_path / "bin/python"
    stub.write_text(STUB.replace('echo "$*" >>', '(IFS=^; echo "$*") >>'))
    folders = [f"--{name}dir={tmp_path}/my {name}" for name in ("data", "dump", "exp")]
    told = psslm("--stage=6", "--stop_stage=14", "--inference_nj=1", *folders)
    assert told.code == 0, told.log
    words = [word for line in told.commands for word in line.split("^")]
    assert sum(f"{tmp_path}/my " in word for word in words) > 60
    assert not any(word.startswith(("data/", "dump/", "exp/")) for word in words)
