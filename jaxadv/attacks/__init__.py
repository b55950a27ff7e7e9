"""How the attacker gets there: algorithms (`init`, `step`), constraints and drivers."""
