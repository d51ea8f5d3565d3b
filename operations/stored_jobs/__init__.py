"""Jobs on topics: reading, selecting and counting them, dead letters and their dispositions."""
