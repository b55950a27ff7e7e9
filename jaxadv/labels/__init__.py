"""Attacks on multi-label classifiers (Sun et al., ACM MM 2023): protocol, targets, measures."""
