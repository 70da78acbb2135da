"""Nothing but ``device.py`` names a kind of device: what runs on one runs on all."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

KIND = re.compile(r"(?<![\w.-])(cpu|cuda|npu|hccl|nccl)(?![\w-])")  # not of a longer name
ATTRIBUTES = {"cuda", "npu", "is_cuda", "is_npu"}  # torch.cuda, tensor.npu(), tensor.is_cuda
FOLDERS = ("espnet_psslm", "benchmarks", "local", "egs2")
ALLOWED = Path("espnet_psslm/device.py")
# The mini recipe's results name the machine's processor under the key "cpu": what is computed on is
# not chosen there.
PROCESSOR = {
    Path("egs2/mini/psslm1/local/collect_results.py"): "'cpu'",
    Path("egs2/mini/psslm1/local/results_table.py"): "'cpu'",
}
# What --gpu_inference false means; with true, device.py chooses.
ON_THE_HOST = (Path("egs2/TEMPLATE/psslm1/psslm.sh"), "false) device=cpu ;;")
SHELL_STRING_OR_COMMENT = re.compile(r"""("(?:\\.|[^"\\])*"|'[^']*')|(?<!\S)#[^\n]*""")


def docstrings(tree: ast.AST) -> set[ast.AST]:
    """Strings that only describe."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def device_names(code: str) -> Iterator[tuple[int, str]]:
    """Line and text of what names a kind of device."""
    tree = ast.parse(code)
    described = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node not in described and KIND.search(node.value):  # parts of f-strings too
                yield node.lineno, repr(node.value)
        elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            yield node.lineno, f".{node.attr}"
        elif isinstance(node, ast.Name) and node.id == "torch_npu":
            yield node.lineno, node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            if any(part in ("cuda", "npu", "torch_npu") for n in names for part in n.split(".")):
                yield node.lineno, "import"
        elif isinstance(node, ast.Compare):
            for side in (node.left, *node.comparators):
                if _is_device_type(side):
                    yield node.lineno, "comparison with device.type"


def shell_device_names(code: str) -> Iterator[tuple[int, str]]:
    """Line and text of what names a kind of device in a shell script, comments apart."""
    bare = SHELL_STRING_OR_COMMENT.sub(lambda found: found[1] or "", code)
    for number, line in enumerate(bare.split("\n"), 1):
        if KIND.search(line):
            yield number, line.strip()


def _is_device_type(node: ast.AST) -> bool:
    if not isinstance(node, ast.Attribute) or node.attr != "type":
        return False
    owner = node.value
    name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
    return name == "device" or name.endswith("_device")


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('x.to("cuda:1")', 1),
        ("x.cuda()", 1),
        ("torch.npu.synchronize()", 1),
        ('f"{name} on cuda:{n}"', 1),
        ("import torch_npu", 1),
        ("from torch.cuda import amp", 1),
        ("if x.device.type == kind: pass", 1),
        ("if self.own_device.type in kinds: pass", 1),
        ('backend = "nccl"', 1),
        ("if x.is_cuda or x.is_npu: pass", 2),
        ("def f():\n    '''On a cpu.'''", 0),
        ("# cuda\ny = x.cpu()", 0),
        ('"./cpu-only, occupy, cpuset, my.cpu"', 0),
        ("torch.autocast(x.device.type)", 0),
        ('chunk.type == "equal"', 0),
    ],
)
def test_what_counts_as_a_name(code, found):
    assert len(list(device_names(code))) == found


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("device=cuda", [1]),
        ("true) opts=(--gpu 1) device=npu:1 ;; # why", [1]),
        ('x="a # b"; run --device "cpu"', [1]),
        ("# it's cuda\n  # npu\nx=1 # 'cpu'\nrun --device cuda", [4]),
        ("echo 'two\nlines' # cpu\nrun --device=cuda", [3]),
        ("run --ngpu 1 --gpu 1 ${x#cpu-} cpu_share", []),
    ],
)
def test_what_counts_as_a_name_in_a_shell(code, found):
    assert [line for line, _ in shell_device_names(code)] == found


def test_nobody_names_a_device(root):
    files = [path for folder in FOLDERS for path in (root / folder).rglob("*.py")]
    assert len(files) > 100
    named = [
        f"{path.relative_to(root)}:{line}: {what}"
        for path in files
        if path.relative_to(root) != ALLOWED
        for line, what in device_names(path.read_text(encoding="utf-8"))
        if what != PROCESSOR.get(path.relative_to(root))
    ]
    assert not named, "ask device.py:\n" + "\n".join(named)
    assert list(device_names((root / ALLOWED).read_text(encoding="utf-8")))


def test_no_shell_script_names_a_device(root):
    files = [path for folder in ("egs2", "local") for path in (root / folder).rglob("*.sh")]
    assert len(files) > 20
    named = [
        (path.relative_to(root), line, what)
        for path in files
        for line, what in shell_device_names(path.read_text(encoding="utf-8"))
    ]
    assert [(path, what) for path, _, what in named] == [ON_THE_HOST], "leave --device at auto"
