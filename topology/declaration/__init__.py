"""The declaration of an application: pipelines, queues, job types, retry policies, and the topics they need."""
