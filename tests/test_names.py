"""What `mmic` names: registered names by scope and without, public names, and a bare install."""

import contextlib
import importlib
import json
import pkgutil

import pytest
from helpers import run_python

import mmic
import mmic.registry
from mmic.names import PUBLIC, REGISTERED, SUBPACKAGES

# Beside Python, torch and mmengine's own requirements nothing can be imported.
BARE = """
import sys

class Missing:
    names = ('cv2', 'mmcv', 'mmdet', 'mmpose', 'mmpretrain', 'mmseg', 'torchvision', 'matplotlib',
             'scipy', 'numba', 'triton', 'pycocotools')

    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in self.names:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, Missing())
"""


def test_every_registered_name_stands_in_the_list():
    """All modules are imported: what they register is what the list says, no more and no less."""
    for module in pkgutil.walk_packages(mmic.__path__, 'mmic.'):
        # Written in Triton's language and for numba alone.
        if 'triton_conv' not in module.name and '.direct.' not in module.name:
            # Of optional packages one may be missing or old, onnx or torch itself for example.
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
    for key, modules in REGISTERED.items():
        registry = getattr(mmic.registry, key)
        names = {name for names in modules.values() for name in names}
        assert set(registry.module_dict) == names, key
        for name in names:
            assert registry.parent.module_dict[name] is registry.module_dict[name], name


FORKED = """
import json, os, sys
from mmengine import registry as registries
from mmengine.registry import init_default_scope

places = json.loads({places!r})
assert not any(name.split('.')[0] == 'mmic' for name in sys.modules)
for key, modules in places.items():
    registry = getattr(registries, key)
    for module, names in modules.items():
        # Each module in a process in which no other of mmic's has been imported.
        child = os.fork()
        if not child:
            from mmic import registry as ours
            from mmic.registry import own
            found = [registry.get(f'mmic.{{name}}') for name in names]
            assert all(target is registry.get(name) for target, name in zip(found, names))
            found = [own(getattr(ours, key), name) for name in names]
            assert found == [registry.get(name) for name in names], (module, names)
            print('FOUND', module, [target.__module__ for target in found], flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, (key, module)
"""


@pytest.mark.slow
def test_scope_finds_every_name_without_an_import():
    pytest.importorskip('mmpose', reason='mmic.pose is built on it')
    printed = run_python(FORKED.format(places=json.dumps(REGISTERED)), timeout=600)
    assert printed.count('FOUND') == sum(map(len, REGISTERED.values()))
    assert all(line.count('mmic.') > 1 for line in printed.splitlines() if 'FOUND' in line)


LATER = """
import sys
import torch
from mmic.layers import DOConv2d
assert 'mmengine' not in sys.modules and 'mmdet' not in sys.modules
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, MODELS, init_default_scope
assert 'mmdet' not in sys.modules
assert MODELS.get('DOConv2d') is DOConv2d
cfg = Config.fromfile({path!r})
init_default_scope('mmdet')
assert callable(HOOKS.get('NATSHook')) and callable(DATASETS.get('GeneratedCIFAR10'))
network = MODELS.build(cfg.backbone)
import mmic
from mmic.models.backbones import ICResNet
assert type(network) is ICResNet is mmic.ICResNet is MODELS.get('ICResNet')
assert MODELS.get('mmic.ICResNet') is ICResNet
hook = HOOKS.build(dict(type='NATSHook'))
assert type(hook).__module__ == 'mmic.engine.hooks'
print('DONE')
"""


def test_layers_imported_before_mmengine_leave_bare_names_to_configs(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(
        "custom_imports = dict(imports=['mmic'])\n"
        "backbone = dict(type='ICResNet', depth=18, base_channels=4, d_max=2)\n"
    )
    assert 'DONE' in run_python(LATER.format(path=str(path)), timeout=300)


def test_public_names_are_loaded_when_used():
    for module, names in PUBLIC.items():
        for name in names:
            assert getattr(mmic, name) is getattr(importlib.import_module(module), name)
    for name in SUBPACKAGES:
        assert getattr(mmic, name) is importlib.import_module(f'mmic.{name}')
    assert {'ICResNet', 'to_supernet', 'DilationPattern', '__version__'} <= set(dir(mmic))
    assert 'ICResNet' in dir(mmic.models)
    for package in (mmic, mmic.models, mmic.engine):
        with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute"):
            _ = package.NoSuchName


def test_stand_ins_behave_as_what_they_stand_for():
    code = """
import inspect
from mmengine.registry import HOOKS, MODELS
import mmic
stand_in = MODELS.get('build_supernet')
assert inspect.isclass(stand_in) and stand_in.__name__ == 'build_supernet'
try:
    MODELS.build(dict(type='build_supernet', model=dict(type='Conv2d')))
except ValueError as error:
    print('REFUSED', error)
assert MODELS.get('build_supernet') is mmic.models.builders.build_supernet
hook = HOOKS.get('PathSamplingHook')
assert hook.priority == mmic.engine.PathSamplingHook.priority
assert not isinstance(3, hook)
print('DONE')
"""
    printed = run_python(code, timeout=300)
    assert 'REFUSED build_supernet takes exactly one of d_max' in printed
    assert 'DONE' in printed


def test_keypoint_codec_is_found_by_scope():
    """MMPose's registry of codecs has no parent; mmengine then asks the package."""
    registry = pytest.importorskip('mmpose.registry', reason='mmic.pose is built on mmpose')
    from mmic.pose import TrainableAssociativeEmbedding

    found = registry.KEYPOINT_CODECS.get('mmic.TrainableAssociativeEmbedding')
    assert found is TrainableAssociativeEmbedding


# The bare install

LIGHT = (
    BARE
    + """
import torch
import mmic.layers, mmic.supernet, mmic.search, mmic.pattern, mmic.deploy, mmic.convert, mmic
from mmic.search import nats
from mmic.search.edo import search_network
from torch import nn

torch.manual_seed(0)
def make():
    return nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))

x = torch.randn(2, 4, 12, 12)
expected = make()(x).shape
supernet = mmic.to_supernet(make(), 2)
pattern, _ = search_network(supernet)
mixed = mmic.to_mixed(make(), [1, 2], num_groups=2)
decoded, _ = nats.search_network(mixed)
networks = [supernet, mixed, mmic.to_searched(make(), pattern), mmic.to_searched(make(), decoded)]
networks += [mmic.to_swapped(make(), dict(type=kind)) for kind in ('PSConv2d', mmic.DOConv2d)]
for network in networks:
    network(x).sum().backward()
    assert network(x).shape == expected
fused = mmic.fuse(networks[2].eval())
torch.testing.assert_close(fused(x), networks[2](x), rtol=1e-4, atol=1e-5)
pattern.save('pattern.json')
assert mmic.DilationPattern.load('pattern.json').layers.keys() == {'0', '2'}

from mmengine.registry import HOOKS, MODELS
assert MODELS.get('mmic.PSConv2d') is MODELS.get('PSConv2d') is mmic.PSConv2d
for registry, name in ((MODELS, 'ICResNet'), (MODELS, 'mmic.AEPoseEstimator'), (HOOKS, 'NATSHook')):
    try:
        registry.build(dict(type=name, depth=18, d_max=2))
    except ImportError as error:
        print('REFUSED', name, error)
print('IMPORTED', sorted(set(Missing.names) & set(sys.modules)))
"""
)


def test_layers_supernets_and_searches_run_on_a_bare_install(tmp_path):
    printed = run_python(LIGHT, cwd=tmp_path, timeout=600)
    assert 'REFUSED ICResNet ICResNet is built on mmdet' in printed
    assert 'REFUSED mmic.AEPoseEstimator mmic.pose is built on mmpose' in printed
    assert "REFUSED NATSHook No module named 'cv2'" in printed
    assert printed.rstrip().endswith('IMPORTED []')
