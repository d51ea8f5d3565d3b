"""Running and inspecting Stoker: commands, dead letters, replay, queues, doctor, embedded broker."""
