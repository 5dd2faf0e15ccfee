import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from toonbox.engine import session as network_file
from toonbox.engine.session import open_session, read_network
from toonbox.errors import StyleError

ENGINES = ["onnxruntime", "openvino"]
PHOTO = np.zeros((1, 3, 8, 8), np.float32)


@pytest.fixture
def network(tiny_style):
    """Give a style's network, and a function that writes it back changed."""
    file = tiny_style() / "style.onnx"
    model = onnx.load(file)

    def write():
        file.write_bytes(model.SerializeToString())
        return file

    return model, write


def outside(tensor, location="head.bin"):
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


@pytest.mark.parametrize("engine", ENGINES)
def test_data_outside_of_the_file_is_refused(network, tmp_path, monkeypatch, engine):
    """OpenVINO would read it relative to the current folder, and be content."""
    pytest.importorskip(engine)
    model, write = network
    (head,) = (tensor for tensor in model.graph.initializer if tensor.name == "head")
    (tmp_path / "head.bin").write_bytes(head.raw_data)
    head.ClearField("raw_data")
    outside(head)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StyleError, match=r"style\.onnx: .* it has data outside of its file"):
        open_session(write(), engine, threads=1)


def mark_outside(model):
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def name_outside(model):
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "*/_ORT_MEM_ADDR_/*"


def constant_outside(model):
    node = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros(1)))
    outside(node.attribute[0].t)
    model.graph.node.append(node)


def branch(model):
    graph = helper.make_graph([], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["photo"], ["d"], then_branch=graph))


def function(model):
    model.functions.add().name = "f"


def sparse(model):
    model.graph.sparse_initializer.add().dims.append(10**12)


def sparse_constant(model):
    node = helper.make_node("Constant", [], ["c"])
    attribute = node.attribute.add()
    attribute.name, attribute.type = "sparse_value", onnx.AttributeProto.SPARSE_TENSOR
    attribute.sparse_tensor.dims.append(10**12)
    model.graph.node.append(node)


def training(model):
    model.training_info.add()


def claim(*sides):
    def change(model):
        tensor = model.graph.initializer.add()
        tensor.name, tensor.data_type, tensor.raw_data = "huge", TensorProto.FLOAT, b"1234"
        tensor.dims.extend(sides)

    return change


def circle(model):
    """OpenVINO would be busy with it for ever."""
    model.graph.node[1].input[0] = model.graph.node[1].output[0]


def twice(model):
    model.graph.node[2].output[0] = model.graph.node[0].output[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (circle, "nodes are not in order"),
        (twice, "nodes are not in order"),
        (mark_outside, "data outside of its file"),
        (name_outside, "data outside of its file"),
        (constant_outside, "data outside of its file"),
        (branch, "graphs within its graph"),
        (function, "functions"),
        (sparse, "sparse tensors"),
        (sparse_constant, "sparse tensors"),
        (training, "steps of training"),
        (claim(1 << 40), "claims more values than it has"),
        (claim(1 << 33, 1 << 33), "claims more values than it has"),
        (claim(-1), "claims more values than it has"),
        (claim(0, 1 << 60), "claims more values than it has"),
    ],
)
def test_what_a_style_has_no_use_for_is_refused(network, change, reason):
    model, write = network
    assert read_network(write())
    change(model)
    with pytest.raises(StyleError, match=rf"style\.onnx: not a network for a style: .*{reason}"):
        read_network(write())


def test_sides_in_one_piece_are_read_too(tmp_path):
    file = tmp_path / "style.onnx"
    tensor = b"\x0a\x06" + b"\xff\xff\xff\xff\xff\x01"
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    file.write_bytes(b"\x08\x0a\x3a" + bytes([len(graph)]) + graph)
    with pytest.raises(StyleError, match="claims more values"):
        read_network(file)


def test_a_second_graph_is_refused(network):
    _, write = network
    file = write()
    file.write_bytes(file.read_bytes() + b"\x3a\x00")
    with pytest.raises(StyleError, match="it has 2 graphs"):
        read_network(file)


def test_every_beginning_of_a_network_is_refused_or_read(network):
    _, write = network
    file = write()
    data, refused = file.read_bytes(), 0
    for end in range(len(data)):
        file.write_bytes(data[:end])
        try:
            read_network(file)
        except StyleError:
            refused += 1
    assert refused > 0.9 * len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"<net version='11'/>",
        b"\x08",
        b"\x08\x0a\x00\x00",
        b"\x08\x0a\x3b",  # a group
        b"\x08\x0a\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x08\x0a\xba\x80\x80\x80\x80\x80\x01\x00",  # a number beyond 32 bits
        b"\x08" + b"\xff" * 20,
    ],
)
def test_what_is_no_onnx_is_refused(tmp_path, data):
    file = tmp_path / "style.onnx"
    file.write_bytes(data)
    with pytest.raises(StyleError, match=r"style\.onnx: not a network for a style: "):
        read_network(file)


def test_bytes_that_look_like_another_format_are_read_as_onnx(network):
    """ONNX Runtime tells its own format by four bytes, which ONNX may have by chance or intent."""
    _, write = network
    file = write()
    name = b"ORTM" + bytes(28)
    file.write_bytes(b"\x08\x09\x12" + bytes([len(name)]) + name + file.read_bytes())
    assert open_session(file, "onnxruntime", threads=1).run(PHOTO).shape == PHOTO.shape


@pytest.mark.parametrize(
    ("limit", "reason"), [("MAX_BYTES", "more than the 20 bytes"), ("MAX_FIELDS", "too many parts")]
)
def test_there_is_a_limit(network, monkeypatch, limit, reason):
    _, write = network
    monkeypatch.setattr(network_file, limit, 20)
    with pytest.raises(StyleError, match=rf"style\.onnx: .*{reason}"):
        read_network(write())


@pytest.mark.parametrize("engine", ENGINES)
def test_an_output_of_another_type_is_refused(network, engine):
    pytest.importorskip(engine)
    model, write = network
    model.graph.node[-1].output[0] = "floats"
    model.graph.node.append(helper.make_node("Cast", ["floats"], ["cartoon"], to=TensorProto.INT32))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    with pytest.raises(StyleError, match=r"style\.onnx: .* tensors of float32"):
        open_session(write(), engine, threads=1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [b"Conv", b"photo"])
def test_names_that_are_no_utf8_are_refused(network, engine, name, capfd):
    """They are in what the engines say, whose bindings fail over them in Python."""
    pytest.importorskip(engine)
    _, write = network
    file = write()
    file.write_bytes(file.read_bytes().replace(name, b"\xb1" + name[1:]))
    with pytest.raises(StyleError, match=r"style\.onnx: not a network"):
        open_session(file, engine, threads=1)
    assert capfd.readouterr().out == ""
