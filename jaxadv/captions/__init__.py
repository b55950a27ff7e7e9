"""Attacks on captioners (Xu et al., CVPR 2019): their protocol, targets, objectives and measures."""
