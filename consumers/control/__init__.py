"""Control: the orders of operators, which one thread of each worker process takes and answers."""
