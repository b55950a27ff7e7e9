"""Attacks on cross-modal hashers (Li et al., NeurIPS 2019): protocol, CMLA and measures."""
