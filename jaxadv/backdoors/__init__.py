"""Backdoors in captioners (Li et al., ICASSP 2022): triggers, poisoned data and defences."""
