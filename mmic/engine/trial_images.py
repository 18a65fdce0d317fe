"""The image sizes of a config, made smaller all alike."""

from mmic.engine.config_walk import config_nodes, map_leaves

# Arguments of transforms, codecs and preprocessors that are lengths in pixels. Whole numbers are;
# floats are ratios, and -1 leaves a side free.
LENGTHS = ('scale', 'scales', 'crop_size', 'size', 'input_size', 'heatmap_size', 'image_scale')
# In a model "scales" are those of anchors.
MODEL_LENGTHS = ('crop_size', 'size', 'input_size', 'heatmap_size')


def shrink_images(cfg, max_size):
    """Shrink all image sizes by one factor, so that the largest is ``max_size``, in place.

    Args:
        cfg (Config): Of a training. Nothing changes where no size is larger.
        max_size (int): In pixels.
    """
    largest = max(image_lengths(cfg), default=0)
    if largest <= max_size:
        return

    def shrink(value):
        return max(1, round(value * max_size / largest)) if is_length(value) else value

    for node, key in _places(cfg):
        node[key] = map_leaves(node[key], shrink)


def image_lengths(cfg):
    """List all lengths in pixels in the pipelines, preprocessors and codecs of a config."""
    found = []
    for node, key in _places(cfg):
        map_leaves(node[key], found.append)
    return [value for value in found if is_length(value)]


def is_length(value):
    return type(value) is int and value > 0


def _places(cfg):
    """Dicts and the keys at which they hold a length or several."""
    content = cfg._cfg_dict
    outside = [value for key, value in content.items() if key != 'model']
    nodes = [(node, LENGTHS) for node in [content, *config_nodes(*outside)]]
    nodes += [(node, MODEL_LENGTHS) for node in config_nodes(cfg.model)]
    return [(node, key) for node, keys in nodes for key in keys if key in node]
