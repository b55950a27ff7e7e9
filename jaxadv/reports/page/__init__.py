"""A page of HTML that shows what a sweep, an evaluation or an attack came to."""
