from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

from tvmkd import models
from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.models.registry import REGISTERED, without_weights


@pytest.fixture(autouse=True)
def clean_path(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)


def test_registered_names():
    for name in REGISTERED:
        kwargs = models.arguments(name, classes=7, channels=3, size=16, multiple=16)
        model = models.build(name, **kwargs).eval()
        assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 7)
        assert models.is_builtin(name)


def test_a_model_gets_what_it_takes_of_what_is_known():
    def known(spec):
        return models.arguments(spec, classes=7, channels=3, size=28, multiple=16)

    assert known("residual") == {"classes": 7, "channels": 3, "multiple": 16}
    assert known("depthwise") == {"classes": 7, "channels": 3, "multiple": 16}
    for name in ("bottleneck", "mobilevit", "mlp"):
        assert known(name) == {"classes": 7, "channels": 3, "size": 28, "multiple": 16}
    assert known("torchvision:resnet18") == {"num_classes": 7}
    assert known("somewhere:net") == {}
    assert models.arguments("mlp", 7, 3) == {"classes": 7, "channels": 3}


def test_an_argument_out_of_range_names_the_model():
    with pytest.raises(UsageError, match=r'^model "mlp": width = 0: wants a number above 0'):
        models.build("mlp", width=0)


def test_torchvision():
    spec = "torchvision:mobilenet_v3_small"
    assert models.is_builtin(spec)
    model = models.build(spec, **models.arguments(spec, classes=4, channels=3))
    assert model.classifier[-1].out_features == 4


@pytest.fixture
def timm(monkeypatch):
    """A library like timm, which takes seconds to import, with one network."""
    made = []

    def create(name, **kwargs):
        made.append((name, kwargs))
        return nn.Linear(2, kwargs["num_classes"])

    library = types.ModuleType("timm")
    library.list_models = lambda: ["tiny_net"]
    library.create_model = create
    monkeypatch.setitem(sys.modules, "timm", library)
    return made


def test_timm(timm):
    assert models.is_builtin("timm:tiny_net")
    known = models.arguments("timm:tiny_net", classes=4, channels=1)
    assert models.build("timm:tiny_net", **known, drop_rate=0.1).out_features == 4
    assert timm == [("tiny_net", {"num_classes": 4, "in_chans": 1, "drop_rate": 0.1})]


@pytest.mark.parametrize("name", ["tiny_nett", "hf-hub:someone/net"])
def test_timm_builds_what_it_lists_only(timm, name):
    with pytest.raises(InputError, match=f'model "timm:{name}": not known'):
        models.build(f"timm:{name}", num_classes=3)
    assert timm == []


def test_timm_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingError, match="timm is not installed; pip install timm"):
        models.build("timm:resnet18")


@pytest.mark.slow  # importing timm takes seconds
def test_a_network_of_timm():
    pytest.importorskip("timm")
    spec = "timm:mobilenetv3_small_050"
    model = models.build(spec, **models.arguments(spec, classes=4, channels=1)).eval()
    assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 4)
    with pytest.raises(InputError, match="did you mean"):
        models.build("timm:mobilenetv3_smal_050")


def test_arguments_that_would_load_weights():
    given = {"weights": "DEFAULT", "weights_backbone": None, "num_classes": 3}
    assert without_weights("torchvision:resnet18", given) == {"num_classes": 3}
    loading = {"pretrained": True, "pretrained_cfg": {}, "checkpoint_path": "x", "in_chans": 1}
    assert without_weights("timm:resnet18", loading) == {"in_chans": 1}
    assert without_weights("mine:net", given) == given


def test_a_module_in_the_current_folder_or_beside_the_config(tmp_path):
    (tmp_path / "net_in_cwd.py").write_text("from torch import nn\nmake = nn.Linear\n")
    beside = tmp_path / "config"
    beside.mkdir()
    (beside / "net_beside.py").write_text(
        "from torch import nn\nclass Nets:\n    @staticmethod\n    def wide(n):\n"
        "        import net_neighbour\n        return net_neighbour.layer(n)\n"
    )
    (beside / "net_neighbour.py").write_text(
        "from torch import nn\ndef layer(n):\n    return nn.Linear(n, n)\n"
    )
    first = models.build("net_in_cwd:make", in_features=2, out_features=3)
    assert isinstance(first, nn.Linear)
    second = models.build("net_beside:Nets.wide", search_in=[beside], n=5)
    assert second.in_features == 5
    assert not models.is_builtin("net_in_cwd:make")


@pytest.mark.parametrize(
    ("spec", "kwargs", "message"),
    [
        ("residul", {}, 'did you mean "residual"'),
        ("nonsense", {}, "known: depthwise, residual"),
        ("torchvision:resnet17", {}, "did you mean"),
        ("no_such_module_here:f", {}, "no module no_such_module_here in .* or installed"),
        ("json:lods", {}, 'json has no lods; did you mean "loads"'),
        ("json:__name__", {}, "not callable"),
        ("json:dumps", {"obj": 1}, r"returns str; it has to return a torch\.nn\.Module"),
        ("depthwise", {"size": 3}, "with size=3: TypeError.*size"),
        ("broken_syntax:f", {}, r"SyntaxError"),
        ("raises_on_import:f", {}, r"ZeroDivisionError.*\(raises_on_import\.py:2\)"),
        ("wants_missing:f", {}, "No module named 'a_missing_library'"),
    ],
)
def test_bad_specs_are_one_line(tmp_path, spec, kwargs, message):
    (tmp_path / "broken_syntax.py").write_text("def f(:\n")
    (tmp_path / "raises_on_import.py").write_text("x = 1\nx / 0\n")
    (tmp_path / "wants_missing.py").write_text("import a_missing_library\n")
    with pytest.raises(InputError, match=message) as caught:
        models.build(spec, **kwargs)
    assert "\n" not in str(caught.value)
    assert f'"{spec}"' in str(caught.value)


def test_a_changed_default_dtype_is_refused_and_set_back(tmp_path):
    (tmp_path / "double_nets.py").write_text(
        "import torch\n"
        "def net():\n"
        "    torch.set_default_dtype(torch.float64)\n"
        "    return torch.nn.Linear(2, 2)\n"
    )
    with pytest.raises(InputError, match=r"changes the default dtype of torch to torch\.float64"):
        models.build("double_nets:net", search_in=[tmp_path])
    assert torch.get_default_dtype() == torch.float32
