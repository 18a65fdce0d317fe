"""CrowdHuman's metrics with the recall that Inception Convolution reports (Table 7)."""

from mmdet.evaluation.metrics import CrowdHumanMetric


class CrowdHumanRecallMetric(CrowdHumanMetric):
    """mmdet's CrowdHuman metric, whose ``'AP'`` also reports ``Recall``.

    Recall is the share of persons that a detection was matched to, at any score, those to be
    ignored left out: the last point of the curve that AP is the area of. It depends on what the
    detector is told to keep, ``score_thr`` and ``max_per_img`` of ``test_cfg.rcnn``.

    Args:
        *args, **kwargs: Of mmdet's ``CrowdHumanMetric``.
    """

    def compute_metrics(self, results):
        """Compute ``mAP``, ``Recall``, ``mMR`` and ``JI``, whichever were asked for.

        Returns:
            dict[str, float]

        Raises:
            ValueError: AP is asked for, and the annotation file has no person to find.
        """
        self._recall = None
        scores = super().compute_metrics(results)
        if self._recall is not None:
            scores['Recall'] = round(self._recall, 4)
        return scores

    # The parent matches detections to persons first and calls this with the result.
    def eval_ap(self, score_list, gt_num, img_num):
        if gt_num == 0:
            raise ValueError(f'{self.ann_file} has no person to find; AP is not defined.')
        self._recall = float(sum(matched for _, matched, _ in score_list) / gt_num)
        return super().eval_ap(score_list, gt_num, img_num)
