"""What an application declares: pipelines, queues, job types, and the topics that they ask for."""
