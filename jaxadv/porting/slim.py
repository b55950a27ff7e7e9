"""Where slim's Inception-v3 keeps each layer of `nets.inception_v3` (tensorflow/models)."""

_A = {
    "branch1x1": "Branch_0/Conv2d_0a_1x1",
    "branch5x5_1": "Branch_1/Conv2d_0a_1x1",
    "branch5x5_2": "Branch_1/Conv2d_0b_5x5",
    "branch3x3dbl_1": "Branch_2/Conv2d_0a_1x1",
    "branch3x3dbl_2": "Branch_2/Conv2d_0b_3x3",
    "branch3x3dbl_3": "Branch_2/Conv2d_0c_3x3",
    "branch_pool": "Branch_3/Conv2d_0b_1x1",
}
_B = {
    "branch3x3": "Branch_0/Conv2d_1a_1x1",  # named 1x1, but 3x3; so is the other
    "branch3x3dbl_1": "Branch_1/Conv2d_0a_1x1",
    "branch3x3dbl_2": "Branch_1/Conv2d_0b_3x3",
    "branch3x3dbl_3": "Branch_1/Conv2d_1a_1x1",
}
_C = {
    "branch1x1": "Branch_0/Conv2d_0a_1x1",
    "branch7x7_1": "Branch_1/Conv2d_0a_1x1",
    "branch7x7_2": "Branch_1/Conv2d_0b_1x7",
    "branch7x7_3": "Branch_1/Conv2d_0c_7x1",
    "branch7x7dbl_1": "Branch_2/Conv2d_0a_1x1",
    "branch7x7dbl_2": "Branch_2/Conv2d_0b_7x1",
    "branch7x7dbl_3": "Branch_2/Conv2d_0c_1x7",
    "branch7x7dbl_4": "Branch_2/Conv2d_0d_7x1",
    "branch7x7dbl_5": "Branch_2/Conv2d_0e_1x7",
    "branch_pool": "Branch_3/Conv2d_0b_1x1",
}
_D = {
    "branch3x3_1": "Branch_0/Conv2d_0a_1x1",
    "branch3x3_2": "Branch_0/Conv2d_1a_3x3",
    "branch7x7x3_1": "Branch_1/Conv2d_0a_1x1",
    "branch7x7x3_2": "Branch_1/Conv2d_0b_1x7",
    "branch7x7x3_3": "Branch_1/Conv2d_0c_7x1",
    "branch7x7x3_4": "Branch_1/Conv2d_1a_3x3",
}
_E = {
    "branch1x1": "Branch_0/Conv2d_0a_1x1",
    "branch3x3_1": "Branch_1/Conv2d_0a_1x1",
    "branch3x3_2a": "Branch_1/Conv2d_0b_1x3",
    "branch3x3_2b": "Branch_1/Conv2d_0c_3x1",
    "branch3x3dbl_1": "Branch_2/Conv2d_0a_1x1",
    "branch3x3dbl_2": "Branch_2/Conv2d_0b_3x3",
    "branch3x3dbl_3a": "Branch_2/Conv2d_0c_1x3",
    "branch3x3dbl_3b": "Branch_2/Conv2d_0d_3x1",
    "branch_pool": "Branch_3/Conv2d_0b_1x1",
}

#: block: layer: scope inside of the block's
SCOPES: dict[str, dict[str, str]] = {
    "Mixed_5b": _A,
    "Mixed_5c": {
        **_A,
        "branch5x5_1": "Branch_1/Conv2d_0b_1x1",
        "branch5x5_2": "Branch_1/Conv_1_0c_5x5",
    },
    "Mixed_5d": _A,
    "Mixed_6a": _B,
    "Mixed_6b": _C,
    "Mixed_6c": _C,
    "Mixed_6d": _C,
    "Mixed_6e": _C,
    "Mixed_7a": _D,
    "Mixed_7b": {**_E, "branch3x3_2b": "Branch_1/Conv2d_0b_3x1"},
    "Mixed_7c": _E,
}
