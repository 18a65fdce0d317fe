"""Walk through the nested dicts and lists of a config."""


def config_nodes(*parts):
    """Yield each dict in parts of a config once, outer ones first."""
    seen = set()

    def visit(value):
        if isinstance(value, dict) and id(value) not in seen:
            seen.add(id(value))
            yield value
            value = list(value.values())
        if isinstance(value, (list, tuple)):
            for item in value:
                yield from visit(item)

    return visit(parts)


def map_leaves(value, function):
    """Return a copy of a part of a config with a function applied to all that is no container."""
    if isinstance(value, dict):
        return type(value)({key: map_leaves(item, function) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(map_leaves(item, function) for item in value)
    return function(value)
