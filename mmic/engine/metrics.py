"""Registered metrics. Each imports mmdet's when it is built: that takes seconds and may print
warnings, which no command without an evaluation should."""

from mmic.registry import METRICS, register


@register(METRICS, 'CrowdHumanRecallMetric')
def build_crowdhuman_recall(**kwargs):
    """Build ``mmic.engine.crowdhuman_recall.CrowdHumanRecallMetric``.

    Args:
        **kwargs: Of mmdet's ``CrowdHumanMetric``.
    """
    from mmic.engine.crowdhuman_recall import CrowdHumanRecallMetric

    return CrowdHumanRecallMetric(**kwargs)
