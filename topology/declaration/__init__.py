"""What an application declares: pipelines, queues, job types, retry policies, and the topics they need."""
