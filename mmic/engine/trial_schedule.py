"""The schedule of a config, made shorter in proportion."""

from mmic.engine.config_walk import config_nodes

# Times in a scheduler, in epochs or iterations.
TIMES = ('begin', 'end', 'T_max', 'step_size')


def shorten_schedule(cfg, epochs, steps):
    """Shorten a training to some epochs of so many steps, in place.

    Schedulers that count as the loop does, in epochs or in iterations, keep their share of the
    training, down to one. Iterations in a training that counts epochs are those of a warm-up,
    which takes at most half of the new training.

    Args:
        cfg (Config): Of a training.
        epochs (int): Of one that counts iterations, as many times ``steps``.
        steps (int): Iterations of an epoch.
    """
    loop, hooks = cfg.train_cfg, cfg.default_hooks
    by_epoch = 'max_iters' not in loop
    key, length = ('max_epochs', epochs) if by_epoch else ('max_iters', epochs * steps)
    factor = length / loop[key]
    loop[key] = loop.val_interval = length
    for name in ('val_begin', 'dynamic_intervals'):
        loop.pop(name, None)
    if 'freeze_epochs' in loop:
        loop.freeze_epochs = int(loop.freeze_epochs * factor)
    checkpoint = hooks.get('checkpoint') or dict(type='CheckpointHook')
    hooks.checkpoint = dict(checkpoint, by_epoch=by_epoch, interval=length)
    hooks.logger = dict(hooks.get('logger') or dict(type='LoggerHook'), interval=1)
    for scheduler in config_nodes(cfg.get('param_scheduler')):
        if scheduler.get('by_epoch', True) == by_epoch:
            _shorten(scheduler, factor, length)
        elif 'end' in scheduler:
            # mmengine's warm-ups arrive a step before their end, and so need two.
            scheduler['end'] = min(scheduler['end'], max(2, epochs * steps // 2))


def _shorten(scheduler, factor, length):
    """Shorten a scheduler that counts as the loop does, whose new length is given."""
    times = {key: scheduler[key] for key in TIMES if key in scheduler}
    whole = times.get('T_max') == times.get('end', 0) - times.get('begin', 0)
    for key, value in times.items():
        scheduler[key] = max(1, round(value * factor)) if value else 0
    if 'begin' in times:
        scheduler['begin'] = min(scheduler['begin'], length - 1)
    if 'end' in times:
        scheduler['end'] = max(scheduler['end'], scheduler.get('begin', 0) + 1)
    if whole:
        scheduler['T_max'] = scheduler['end'] - scheduler.get('begin', 0)
    if 'milestones' in scheduler:
        # In a training as short as this several may fall together; then there is one step.
        steps = {max(1, round(step * factor)) for step in scheduler['milestones']}
        scheduler['milestones'] = sorted(steps)
