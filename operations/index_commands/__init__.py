"""The commands `stoker status` and `stoker jobs`: what became of jobs, by the index or by the topics themselves."""
