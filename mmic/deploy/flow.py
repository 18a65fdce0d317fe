"""Which module's output goes where, by symbolic tracing with ``torch.fx``.

Detectors cannot be traced as a whole. What can be traced is; a module whose code cannot be
followed counts as a black box, and the modules inside it are traced by themselves.
"""

import inspect

import torch
from torch import fx, nn


class Tracer(fx.Tracer):
    """Traces a network, with a black box for each module that it cannot follow.

    Attributes:
        opaque (set[str]): Names of the black boxes.
    """

    def __init__(self):
        super().__init__()
        self.opaque = set()

    def is_leaf_module(self, module, name):
        return not _has_children(module) or super().is_leaf_module(module, name)

    def call_module(self, module, forward, args, kwargs):
        name = self.path_of_module(module)
        if self.is_leaf_module(module, name):
            return self.create_proxy('call_module', name, args, kwargs)
        if has_hooks(module):
            self.opaque.add(name)
            return self.create_proxy('call_module', name, args, kwargs)
        last = next(iter(reversed(self.graph.nodes)), None)
        try:
            return forward(*args, **kwargs)
        # Whatever a forward may raise that is given a stand-in for a tensor.
        except Exception:
            for node in list(reversed(self.graph.nodes)):
                if node is last:
                    break
                self.graph.erase_node(node)
            self.opaque.add(name)
            return self.create_proxy('call_module', name, args, kwargs)


def trace(model):
    """Trace a network's parts, as large as they can be.

    Tracing runs the network's code on stand-ins for tensors, which the code may keep: give a
    copy in eval mode.

    Args:
        model (nn.Module): The network.

    Returns:
        list[tuple[str, fx.Graph]]: Of each part its name followed by a dot, ``''`` for the
        whole, and its graph, with names relative to the part.
    """
    for module in model.modules():
        # Checkpointed activations are the same activations.
        if hasattr(module, 'with_cp'):
            module.with_cp = False
    return list(_trace_part(model, '', trusted=True))


def _trace_part(module, prefix, trusted=False):
    # A parent may walk over the layers of a Sequential and use what lies between them.
    trusted = trusted or type(module).forward is not nn.Sequential.forward
    tracer = Tracer()
    graph = _try_trace(tracer, module) if trusted and _has_children(module) else None
    called = set()
    if graph is not None:
        called = {node.target for node in graph.nodes if node.op == 'call_module'}
    # Where a black box is also looked into, not all calls of what is in it are known.
    entered = any(path.startswith(f'{box}.') for path in called for box in tracer.opaque)
    if graph is None or entered:
        for name, child in module.named_children():
            yield from _trace_part(child, f'{prefix}{name}.')
        return
    yield prefix, graph
    for name, part in _untraced(module, '', called, tracer.opaque):
        yield from _trace_part(part, f'{prefix}{name}.')


def _try_trace(tracer, module):
    parameters = inspect.signature(module.forward).parameters
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    try:
        return tracer.trace(module, defaults)
    except Exception:
        return None


def _untraced(module, prefix, called, opaque):
    """The parts inside black boxes, and those that the graph never reaches."""
    for name, child in module.named_children():
        path = f'{prefix}{name}'
        if path in opaque:
            for inner, part in child.named_children():
                yield f'{path}.{inner}', part
        elif path not in called:
            if any(target.startswith(f'{path}.') for target in called):
                yield from _untraced(child, f'{path}.', called, opaque)
            else:
                yield path, child


def _has_children(module):
    return next(module.children(), None) is not None


def has_hooks(module):
    """Whether a module's inputs or outputs are seen or changed from outside."""
    return bool(module._forward_hooks or module._forward_pre_hooks or 'forward' in vars(module))


class Calls:
    """What a graph does with the modules of a network.

    Args:
        prefix (str): Of the traced part's names.
        graph (fx.Graph): Its graph.
    """

    def __init__(self, prefix, graph):
        self.prefix = prefix
        self.nodes = {}  # a module's name -> its calls
        for node in graph.nodes:
            if node.op == 'call_module':
                self.nodes.setdefault(self.name(node), []).append(node)
        # Modules whose parameters the code reads by itself.
        self.read = {
            f'{prefix}{node.target}'.rpartition('.')[0]
            for node in graph.nodes
            if node.op == 'get_attr'
        }

    def name(self, node):
        """Full name of the module that a node calls; None if it calls none."""
        return f'{self.prefix}{node.target}' if node.op == 'call_module' else None

    def reader(self, node):
        """The only node that reads a node's output and that reads nothing else, or None."""
        users = list(node.users)
        return users[0] if len(users) == 1 and users[0].all_input_nodes == [node] else None

    def only_reader(self, name):
        """Name of the module that alone reads a module's output and nothing else, or None."""
        readers = [self.reader(node) for node in self.nodes[name]]
        found = {None if reader is None else self.name(reader) for reader in readers}
        if len(found) != 1 or None in found:
            return None
        (reader,) = found
        return reader if len(self.nodes[reader]) == len(readers) else None


# Modules and functions that treat every channel alike and by itself.
CHANNELWISE = {
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AvgPool2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.ELU,
    nn.GELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Identity,
    nn.LeakyReLU,
    nn.MaxPool2d,
    nn.Mish,
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Tanh,
}
CHANNELWISE_FUNCTIONS = {
    nn.functional.gelu,
    nn.functional.hardswish,
    nn.functional.leaky_relu,
    nn.functional.relu,
    nn.functional.relu6,
    nn.functional.silu,
    torch.relu,
    torch.relu_,
    torch.sigmoid,
    torch.tanh,
}
