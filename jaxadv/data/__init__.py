"""Pictures and what is known of them: scenes, real data sets and folders, vocabulary."""
