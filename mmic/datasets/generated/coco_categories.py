"""The categories of COCO's instances and the keypoints of its persons."""

# 80 of the ids 1 to 90: COCO's object categories as they are in its annotation files.
UNUSED_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
NAMES = (
    'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat',
    'traffic light', 'fire hydrant', 'stop sign', 'parking meter', 'bench', 'bird', 'cat', 'dog',
    'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe', 'backpack', 'umbrella',
    'handbag', 'tie', 'suitcase', 'frisbee', 'skis', 'snowboard', 'sports ball', 'kite',
    'baseball bat', 'baseball glove', 'skateboard', 'surfboard', 'tennis racket', 'bottle',
    'wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl', 'banana', 'apple', 'sandwich',
    'orange', 'broccoli', 'carrot', 'hot dog', 'pizza', 'donut', 'cake', 'chair', 'couch',
    'potted plant', 'bed', 'dining table', 'toilet', 'tv', 'laptop', 'mouse', 'remote',
    'keyboard', 'cell phone', 'microwave', 'oven', 'toaster', 'sink', 'refrigerator', 'book',
    'clock', 'vase', 'scissors', 'teddy bear', 'hair drier', 'toothbrush',
)  # fmt: skip
CATEGORY_IDS = dict(zip(NAMES, (index for index in range(1, 91) if index not in UNUSED_IDS)))

# Where the keypoints are in a person's box, as shares of its width and height. The person faces
# the viewer, so left is on the right side of the image.
KEYPOINTS = {
    'nose': (0.5, 0.12),
    'left_eye': (0.56, 0.08),
    'right_eye': (0.44, 0.08),
    'left_ear': (0.62, 0.11),
    'right_ear': (0.38, 0.11),
    'left_shoulder': (0.7, 0.26),
    'right_shoulder': (0.3, 0.26),
    'left_elbow': (0.8, 0.42),
    'right_elbow': (0.2, 0.42),
    'left_wrist': (0.86, 0.57),
    'right_wrist': (0.14, 0.57),
    'left_hip': (0.62, 0.55),
    'right_hip': (0.38, 0.55),
    'left_knee': (0.64, 0.75),
    'right_knee': (0.36, 0.75),
    'left_ankle': (0.66, 0.95),
    'right_ankle': (0.34, 0.95),
}
# Pairs of the keypoints above, counted from 1.
SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9),
    (8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
