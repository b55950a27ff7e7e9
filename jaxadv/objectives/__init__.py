"""What the attacker wants: pure per-example losses."""
