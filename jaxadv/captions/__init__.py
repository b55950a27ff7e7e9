"""Attacks on captioners (Xu et al., CVPR 2019): protocol, targets, objectives and measures."""
