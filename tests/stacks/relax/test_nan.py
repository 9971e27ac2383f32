"""NaN passes through ReLU and Clip, as in ONNX Runtime."""

from __future__ import annotations

from in_relax import in_relax


def test_constants_go_first_and_nan_passes(tmp_path):
    script = """
import tvm_ffi
from tvmkd.stacks.relax.nan import keep_nan
bb = relax.BlockBuilder()
x = relax.Var("x", relax.TensorType([6], "float32"))
with bb.function("main", [x]):
    with bb.dataflow():
        y = bb.emit(relax.op.nn.relu(x))
        z = bb.emit(relax.op.clip(x, -1.0, 1.0))
        out = bb.emit_output(relax.Tuple([y, z]))
    bb.emit_func_output(out)
mod = relax.transform.LegalizeOps()(bb.get())
turned = keep_nan(mod)
values = np.array([np.nan, -2, -0.5, 0.5, 2, np.inf], np.float32)
relu, clip = outputs(machine(turned, sys.argv[1]), values)
print(json.dumps([
    [None if np.isnan(v) else float(v) for v in relu],
    [None if np.isnan(v) else float(v) for v in clip],
    tvm_ffi.structural_equal(keep_nan(turned), turned),
]))
"""
    relu, clip, settled = in_relax(script, tmp_path / "m.so")
    assert relu == [None, 0, 0, 0.5, 2, float("inf")]
    assert clip == [None, -1, -0.5, 0.5, 1, 1]
    assert settled
