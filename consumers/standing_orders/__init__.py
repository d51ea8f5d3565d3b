"""Orders of operators about single jobs, which hold until they are lifted: cancels and new due times."""
