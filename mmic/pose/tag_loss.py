"""The loss that makes the tags of one person equal and those of two people different."""

import torch
from mmpose.models.losses import AssociativeEmbeddingLoss

from mmic.registry import MODELS, register


def pull_and_push(tags, labelled):
    """Compute the two terms of one image.

    With the mean tag of each person over the labelled keypoints as reference, pull is the mean
    over people of the mean squared distance of a keypoint's tag to its person's reference; push
    is the mean over ordered pairs of different people of exp(-squared distance of the
    references). Both are zero without people, push with one.

    Newell et al. 2017, Eq. 1, normalised as MMPose normalises it: the equation as printed sums
    over keypoints, and divides push by the number of all pairs, equal ones among them.

    Args:
        tags (Tensor): Tags at the keypoints, (N, K, L); of any value where not labelled.
        labelled (Tensor): Which keypoints are labelled, (N, K), bool.

    Returns:
        tuple[Tensor, Tensor]: Pull and push, scalars.
    """
    present = labelled.any(1)
    tags, weights = tags[present], labelled[present].unsqueeze(-1).to(tags.dtype)  # (N, K, 1)
    people, _, size = tags.shape
    counts = weights.sum(1)  # (N, 1)
    references = (tags * weights).sum(1) / counts  # (N, L)
    distances = (tags - references[:, None]).pow(2) * weights  # (N, K, L)
    pull = (distances.sum(1) / counts).sum() / max(people * size, 1)
    # The pairs of each two people once: the sum over i < j.
    first, second = torch.triu_indices(people, people, offset=1, device=tags.device)
    squares = (references[first] - references[second]).pow(2).sum(-1)
    push = (-squares).exp().sum() / max(len(first), 1)
    return pull, push


@register(MODELS)
class MeanAssociativeEmbeddingLoss(AssociativeEmbeddingLoss):
    """MMPose's ``AssociativeEmbeddingLoss`` as the mean over the batch, where that sums.

    A sum would make the weight of the loss grow with the number of images on a GPU. The sum over
    keypoints is done at once, and equal pairs, which add a constant to push, are left out.
    Arguments are MMPose's.
    """

    def forward(self, tags, keypoint_indices):
        """Compute the weighted terms.

        Args:
            tags (Tensor): (B, L * K, H, W).
            keypoint_indices (list[Tensor]): Of each image, (N, K, 2): the position
                ``y * W + x`` of a keypoint, and whether it is labelled.

        Returns:
            tuple[Tensor, Tensor]: Pull and push, scalars.
        """
        pull, push = super().forward(tags, keypoint_indices)
        return pull / len(tags), push / len(tags)

    def _ae_loss_per_image(self, tags, keypoint_indices):
        positions, labelled = keypoint_indices[..., 0], keypoint_indices[..., 1] > 0
        keypoints = torch.arange(positions.shape[1], device=tags.device)
        tags = tags.reshape(-1, len(keypoints), tags.shape[-2] * tags.shape[-1])  # (L, K, H * W)
        # A keypoint outside of the image has a position outside of the map.
        tags = tags[:, keypoints, positions.masked_fill(~labelled, 0)]  # (L, N, K)
        return pull_and_push(tags.permute(1, 2, 0), labelled)
