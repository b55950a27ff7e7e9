"""Pictures and what is known of them: scenes, photographs, vocabulary."""
