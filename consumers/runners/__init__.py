"""Where jobs run in this process: threads and event loops, watched for their deadlines."""
