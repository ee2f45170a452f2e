"""PyTorch's files that could run code: refused before PyTorch reads them, with one line, and nothing is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnxcam_converters.code_scan_torch_program import is_length_arithmetic
from onnxcam_converters.torch_files import load_model, load_weights

from onnxcam.converters import from_file
from tests.command import Ran
from tests.converters import torchnets
from tests.converters.untrusted import refused, untrusted
from tests.optional import torch

TRACE = "trace.txt"
CODE = f"__import__('pathlib').Path('{TRACE}').touch()"
Members = dict[str, bytes]


class Evil:
    """A pickle of it leaves a trace where it is read."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {TRACE}",)


@pytest.fixture(autouse=True)
def _no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / TRACE).exists()


def saved(thing: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    torch.save(thing, file, **how)
    return file.getvalue()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """The members of a .pt2 file with open axes."""
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    shapes = {"x": {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}}
    example = (torch.zeros(2, 3, 16, 20),)
    torch.export.save(torch.export.export(torchnets.make("Tiny").eval(), example, dynamic_shapes=shapes), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: Members, name: str = "net.pt2") -> Path:
    with zipfile.ZipFile(name, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return Path(name)


def named(members: Members, end: str) -> str:
    return next(name for name in members if name.endswith(end))


def changed(members: Members, end: str, change: Callable[[Any], Any]) -> Members:
    name = named(members, end)
    content = json.loads(members[name])
    change(content)
    return {**members, name: json.dumps(content).encode()}


def test_a_program_that_is_one_is_read(program: Members) -> None:
    before = dict(os.environ)
    assert from_file(packed(program), "net.onnx").path == Path("net.onnx")
    assert dict(os.environ) == before


def pickled_weight(members: Members) -> Members:
    def change(config: Any) -> None:
        next(iter(config["config"].values())).update(use_pickle=True, path_name="weight_0")

    weight = named(members, "/weights/weight_0")
    return {**changed(members, "model_weights_config.json", change), weight: saved(Evil())}


def old_pickled_weight(members: Members) -> Members:
    """Neither an archive nor numbers: what no look at the member tells."""
    members = pickled_weight(members)
    return {**members, named(members, "/weights/weight_0"): saved(Evil(), _use_new_zipfile_serialization=False)}


def opaque_object(members: Members) -> Members:
    payload = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    members = changed(members, "constants_config.json", lambda config: config["config"].update(c=payload))
    root = next(iter(members)).split("/")[0]
    return {**members, f"{root}/data/constants/opaque_obj_0": pickle.dumps(Evil())}


def whole(end: str) -> Callable[[Members], Members]:
    """Pickle what a format of an earlier PyTorch keeps in the member *end*."""

    def change(members: Members) -> Members:
        return {**members, f"{next(iter(members)).split('/')[0]}/{end}": saved(({"x": Evil()}, {}))}

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (pickled_weight, "system in 'net/data/weights/weight_0'"),
        (old_pickled_weight, "pickled objects"),
        (opaque_object, "'opaque_obj_0' in "),
        (whole("data/sample_inputs/model.pt"), "data/sample_inputs/model.pt"),
        (whole("data/weights/model.pt"), "data/weights/model.pt"),
        (whole("data/constants/model.pt"), "data/constants/model.pt"),
    ],
)
def test_pickles_in_a_program(change: Callable[[Members], Members], says: str, program: Members) -> None:
    untrusted(packed(change(program)), "pickled objects, which could run any code", says)


def test_a_pickle_in_a_program_of_pytorch_2_7(program: Members) -> None:
    members = {
        "version": b"8.8",
        "serialized_exported_program.json": program[named(program, "models/model.json")],
        **{f"serialized_{each}.pt": saved({"x": Evil()}) for each in ("state_dict", "constants", "example_inputs")},
    }
    untrusted(packed(members), "pickled objects", "serialized_state_dict.pt")


def test_a_trusted_program_is_read(program: Members) -> None:
    members = pickled_weight(program)
    tensor = torch.nn.Parameter(torch.load(io.BytesIO(saved(torchnets.make("Tiny").state_dict())))["conv.weight"])
    members[named(members, "/weights/weight_0")] = saved(tensor)
    from_file(packed(members), "net.onnx", unsafe_pickle=True)


def test_a_compiled_library(program: Members) -> None:
    root = next(iter(program)).split("/")[0]
    members = {**program, f"{root}/data/aotinductor/model/code.wrapper.so": b"\x7fELF"}
    untrusted(packed(members), "the compiled library ", "code.wrapper.so', which could run any code")


def expression(found: Any) -> None:
    for value in found["graph_module"]["graph"]["tensor_values"].values():
        for size in value["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = CODE


def guard(found: Any) -> None:
    found["guards_code"] = [f"{CODE} is None"]


def target(name: str) -> Callable[[Any], None]:
    def change(found: Any) -> None:
        node = found["graph_module"]["graph"]["nodes"][0]
        node.update(target=name, inputs=[{"name": "", "arg": {"as_string": f"touch {TRACE}"}, "kind": 1}])

    return change


def placeholder(found: Any) -> None:
    found["graph_module"]["graph"]["inputs"][-1]["as_tensor"]["name"] = f"x={CODE}"


def keyword(found: Any) -> None:
    signature = found["graph_module"]["module_call_graph"][0]["signature"]
    spec = json.loads(signature["in_spec"])
    spec[1]["children_spec"][1]["context"] = json.dumps([f"x={CODE}"])
    signature["in_spec"] = json.dumps(spec)


def enumeration(found: Any) -> None:
    signature = found["graph_module"]["module_call_graph"][0]["signature"]
    spec = json.loads(signature["in_spec"])
    spec[1]["context"] = json.dumps({"__enum__": True, "fqn": "antigravity:x", "name": "y"})
    signature["in_spec"] = json.dumps(spec)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (expression, "as 'expr_str' of its program"),
        (guard, "as 'guards_code' of its program"),
        (target("torch.os.system"), "'torch.os.system' as 'target' of its program"),
        (target("torch.ops.aten.from_file.default"), "as 'target' of its program"),
        (target("_operator.attrgetter"), "as 'target' of its program"),
        (placeholder, "as 'name' of its program"),
        (keyword, "as 'in_spec' of its program"),
        (enumeration, "as 'in_spec' of its program"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_code_in_the_text_of_a_program(change: Callable[[Any], None], says: str, program: Members) -> None:
    untrusted(packed(changed(program, "models/model.json", change)), says, "which could run any code")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Add(Mul(Integer(2), Symbol('s0', positive=True, integer=True)), Integer(-2))", True),
        ("Eq(Mod(Symbol('s1', integer=True), 4), 0)", True),
        ("Pow(Symbol('s0', integer=True), Integer(2))", True),
        ("L['x'].size()[2] // 2 <= 512 and math.floor(2.5) > 1", True),
        ("torch.sym_max(L['x'].size()[0], 3) == 3", True),
        ("sympify('1')", False),
        ("(lambda: 1)()", False),
        ("Symbol('s0').func", False),
        ("L['x\"'].size()[0] == 3", False),
        ("math.__loader__", False),
        ("torch.sym_max.__globals__", False),
        ("torch.os.system('ls')", False),
        ("[x for x in ()]", False),
        ("9**9**9", False),
        ("Pow(Integer(9), Integer(99999999))", False),
        ("(" * 5000, False),
    ],
)
def test_lengths(text: str, plain: bool) -> None:
    assert is_length_arithmetic(text) is plain


def protocol_0(thing: Any) -> bytes:
    return pickle.dumps(thing, protocol=0)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.ckpt", "w"])
@pytest.mark.parametrize("written", [saved, pickle.dumps, protocol_0])
def test_weights(name: str, written: Callable[[Any], bytes]) -> None:
    Path(name).write_bytes(written({"conv.weight": Evil()}))
    untrusted(name, "pickled objects", read=lambda path: load_weights(torchnets.make("Tiny"), path, False))


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.ts"])
def test_whole_modules(name: str) -> None:
    Path(name).write_bytes(saved(Evil()))
    untrusted(name, "pickled objects")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_that_writes() -> None:
    torch.jit.script(torchnets.make("Tiny").eval()).save("good.pt")
    load_model(Path("good.pt"), unsafe_pickle=False)
    with zipfile.ZipFile("good.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    code = next(name for name in members if name.endswith(".py") and b"forward" in members[name])
    for text in (b"    torch.save(x, 'trace.txt')\n", b"    a = torch.from_file('trace.txt', True, 4)\n"):
        evil = members[code].replace(b"Tensor:\n", b"Tensor:\n" + text)
        untrusted(packed({**members, code: evil}, "evil.pt"), "TorchScript that may read or write files")
    evil = members[code].replace(b"Tensor:\n", b"Tensor:\n    a = ops.image.read_file('trace.txt')\n")
    untrusted(packed({**members, code: evil}, "evil.pt"), "TorchScript that may read or write files")


def test_archives_that_are_none(program: Members) -> None:
    root = next(iter(program)).split("/")[0]
    with zipfile.ZipFile("bomb.pt2", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as member:
        for _ in range(300):
            member.write(bytes(1 << 20))
    refused("bomb.pt2", "'bomb.pt2' claims to unpack to 0.3 GiB, more than any model")
    refused(packed({**program, f"{root}/../x": b""}), "has a member outside its folder")
    refused(packed({**program, named(program, "model.json").upper(): b""}), "has two members called")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_tensors_that_are_not_whole() -> None:
    """PyTorch reads such TorchScript past its end and crashes."""
    torch.jit.script(torch.nn.Linear(4096, 64)).save("whole.pt")
    torch.save({"w": torch.ones(4096, 64)}, "weights.pt")
    for name in ("whole.pt", "weights.pt"):
        with zipfile.ZipFile(name) as archive:
            members = {each: archive.read(each) for each in archive.namelist()}
        short = {each: content[:64] if len(content) == 1 << 20 else content for each, content in members.items()}
        assert short != members
        says = "'short.pt' is truncated: 'data/", "' has 64 of 1048576 bytes; fetch it again"
        refused(packed(short, "short.pt"), *says)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_file(onnxcam: Callable[..., Ran]) -> None:
    os.mkfifo("pipe.pt2")
    os.mkfifo("pipe.keras")
    Path("folder.pt").mkdir()
    refused("pipe.pt2", "pipe.pt2: is a pipe, not a model; give a file")
    refused("pipe.keras", "pipe.keras: is a pipe, not a model; give a file")
    for weights, says in (("pipe.pt2", "is a pipe"), ("folder.pt", "is a folder"), ("x" * 300, "File name too long")):
        refused(weights, says, read=lambda path: load_weights(torchnets.make("Tiny"), path, False))
    ran = onnxcam("export", "x" * 300 + ".pt2", "-o", "net.onnx")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: '{'x' * 132}…{'x' * 63}.pt2' does not exist; give a file, a SavedModel folder")
    assert len(ran.err.splitlines()) == 1


def test_the_command_line_refuses(onnxcam: Callable[..., Ran], program: Members) -> None:
    packed(pickled_weight(program), "evil.pt2")
    ran = onnxcam("export", "evil.pt2", "-o", "net.onnx")
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("error: 'evil.pt2' holds pickled objects, which could run any code when they are read")
    assert line.endswith("; use --unsafe-pickle if you trust its author")
    assert [path.name for path in Path().iterdir()] == ["evil.pt2"]
